#include "flow/shell_text.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "flow/shell_parser.h"
#include "flow/shell_word.h"

namespace sluice::flow {
namespace {

/// A part that bash parses when it expands it, with its own text and where every byte of that came from.
struct Expansion {
  UnparsedPart::Kind kind;
  std::string text;
  std::vector<std::size_t> origins;
};

Expansion make_expansion(const UnparsedPart& part, std::string_view text, const std::vector<std::size_t>* origins) {
  Expansion expansion{part.kind, {}, {}};
  for (std::size_t at = part.content.begin; at < part.content.end; ++at) {
    const bool backquoted = part.kind == UnparsedPart::Kind::backquoted;
    const bool escape = backquoted && text[at] == '\\' && at + 1 < part.content.end;
    if (escape && std::string_view("\\`$").find(text[at + 1]) != std::string_view::npos) ++at;
    expansion.text += text[at];
    expansion.origins.push_back(origins ? (*origins)[at] : at);
  }
  return expansion;
}

/// Whether what stood between `$(` and `)` is arithmetic: one pair of parentheses around all of it. What is in there
/// was then read completely; only if it is not, commands have yet to be looked for.
bool is_arithmetic(std::string_view text) { return end_of_brackets(text, 0, {'(', ')'}) == text.size(); }

// Looks for @ words in what bash does not parse at first. An error in there is the business of the command that expands
// it, and so nothing is reported.
class HiddenWords {
 public:
  HiddenWords(std::map<std::size_t, AtWord>& found, ShellDialect dialect) : found_(found), dialect_(dialect) {}

  void add(const std::vector<UnparsedPart>& parts, std::string_view text, const std::vector<std::size_t>* origins) {
    for (const UnparsedPart& part : parts) {
      Expansion expansion = make_expansion(part, text, origins);
      if (expansion.text.empty() || expansion.text.find('@') == std::string::npos) continue;
      if (seen_.emplace(expansion.origins.front(), true).second) waiting_.push_back(std::move(expansion));
    }
  }

  void search() {
    while (!waiting_.empty()) {
      const Expansion expansion = std::move(waiting_.back());
      waiting_.pop_back();
      search(expansion);
    }
  }

 private:
  void search(const Expansion& expansion) {
    if (expansion.kind == UnparsedPart::Kind::parenthesized && is_arithmetic(expansion.text)) return;
    ShellParser parser(expansion.text, dialect_);
    const bool expandable = expansion.kind == UnparsedPart::Kind::here_document;
    if (!(expandable ? parser.parse_expandable_text() : parser.parse())) return;
    add(parser.take_unparsed_parts(), expansion.text, &expansion.origins);
    ParsedText parsed = parser.take_result();
    for (ParsedCommand& command : parsed.commands) keep(command.at_words, expansion);
    keep(parsed.stray_at_words, expansion);
  }

  void keep(std::vector<AtWord>& words, const Expansion& expansion) {
    for (AtWord& word : words) {
      const TextRange range{expansion.origins[word.range.begin], expansion.origins[word.range.end - 1] + 1};
      found_.emplace(range.begin, AtWord{range, std::move(word.value)});
    }
  }

  std::map<std::size_t, AtWord>& found_;
  ShellDialect dialect_;
  std::map<std::size_t, bool> seen_;
  std::vector<Expansion> waiting_;
};

/// All the @ words that are not at the start of a stage, in order, each once.
std::vector<AtWord> collect_stray_words(std::vector<AtWord> words, const std::vector<UnparsedPart>& parts,
                                        std::string_view text, ShellDialect dialect) {
  std::map<std::size_t, AtWord> found;
  for (AtWord& word : words) found.emplace(word.range.begin, std::move(word));
  HiddenWords hidden(found, dialect);
  hidden.add(parts, text, nullptr);
  hidden.search();
  std::vector<AtWord> result;
  for (auto& [offset, word] : found) result.push_back(std::move(word));
  return result;
}

}  // namespace

std::expected<ParsedText, SyntaxError> parse_shell_text(std::string_view text, ShellDialect dialect) {
  const std::size_t null_byte = text.find('\0');
  if (null_byte != std::string_view::npos)
    return std::unexpected(SyntaxError{null_byte, "a text may not hold a NUL byte"});
  ShellParser parser(text, dialect);
  if (!parser.parse()) return std::unexpected(parser.failure());
  std::vector<UnparsedPart> parts = parser.take_unparsed_parts();
  ParsedText parsed = parser.take_result();
  parsed.stray_at_words = collect_stray_words(std::move(parsed.stray_at_words), parts, text, dialect);
  return parsed;
}

std::string stage_text(std::string_view text, const ParsedCommand& command) {
  std::string stage = command.first_word_is_time ? "\\" : "";
  std::size_t position = command.range.begin;
  for (const TextRange& foreign : command.foreign_here_documents) {
    stage += text.substr(position, foreign.begin - position);
    position = foreign.end;
  }
  stage += text.substr(position, command.range.end - position);
  if (command.stderr_joins_pipe) stage += " 2>&1";
  if (!command.here_documents.empty()) stage += '\n';
  for (const TextRange& body : command.here_documents) stage += text.substr(body.begin, body.end - body.begin);
  return stage;
}

}  // namespace sluice::flow
