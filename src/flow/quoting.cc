#include "flow/quoting.h"

#include <algorithm>

#include "base/text.h"

namespace sluice::flow {
namespace {

bool is_harmless(char c) {
  bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  return alphanumeric || std::string_view("_-./:,+@%=").find(c) != std::string_view::npos;
}

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }  // RFC 3629

}  // namespace

std::string quote_word(std::string_view word) {
  if (!word.empty() && std::ranges::all_of(word, is_harmless)) return std::string(word);
  return single_quoted(word);
}

std::string single_quoted(std::string_view word) {
  std::string quoted = "'";
  for (char c : word) {
    if (c == '\'')
      quoted += "'\\''";
    else
      quoted += c;
  }
  return quoted + "'";
}

std::string quote_words(std::span<const std::string> words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + quote_word(word);
  return line;
}

std::string on_one_line(std::string_view text, std::size_t columns) {
  // Control characters would let a command's text move the cursor.
  std::string command = without_controls(text);
  std::string line;
  std::size_t used = 0;
  for (std::size_t i = 0; i < command.size(); ++i) {
    bool starts_character = !continues_character(command[i]);
    if (starts_character && ++used > columns) {
      // The last column goes to the mark: the character there is taken back whole.
      while (!line.empty() && continues_character(line.back())) line.pop_back();
      if (!line.empty()) line.pop_back();
      return line + "…";
    }
    line += command[i] == '\n' || command[i] == '\t' ? ' ' : command[i];
  }
  return line;
}

}  // namespace sluice::flow
