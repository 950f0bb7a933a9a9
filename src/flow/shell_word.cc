#include "flow/shell_word.h"

namespace sluice::flow {
namespace {

bool is_name_start(char character) {
  return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') || character == '_';
}

bool is_name_character(char character) { return is_name_start(character) || (character >= '0' && character <= '9'); }

std::size_t name_length(std::string_view text) {
  if (text.empty() || !is_name_start(text.front())) return 0;
  std::size_t length = 1;
  while (length < text.size() && is_name_character(text[length])) ++length;
  return length;
}

// bash marks quoted characters inside itself with these two, and has mistaken them in words more than once.
bool is_shell_internal(char character) { return character == '\x01' || character == '\x7f'; }

bool is_literal_unquoted(char character) {
  if (static_cast<unsigned char>(character) >= 0x80) return true;
  if (is_name_character(character)) return true;
  return std::string_view("-+=:,./@%^!#]").find(character) != std::string_view::npos;
}

bool is_escaped_in_double_quotes(char character) {
  return character == '"' || character == '\\' || character == '$' || character == '`';
}

// Walks over one raw word and hands out its characters with what quotes them. Both readings of a word share the walk,
// so that they cannot disagree on where a quote ends.
class QuoteWalk {
 public:
  enum class Quoting { none, single, double_quotes, backslash };

  explicit QuoteWalk(std::string_view raw) : raw_(raw) {}

  /// The next character that is not itself a quote; false at the end.
  bool next() {
    while (position_ < raw_.size()) {
      if (inside_ == '\'' ? step_single() : inside_ == '"' ? step_double() : step_unquoted()) return true;
    }
    return false;
  }
  char character() const { return character_; }
  Quoting quoting() const { return quoting_; }

 private:
  bool yield(char character, Quoting quoting) {
    character_ = character;
    quoting_ = quoting;
    return true;
  }

  bool step_single() {
    const char character = raw_[position_++];
    if (character != '\'') return yield(character, Quoting::single);
    inside_ = 0;
    return false;
  }

  bool step_double() {
    const char character = raw_[position_++];
    if (character == '"') {
      inside_ = 0;
      return false;
    }
    if (character != '\\' || position_ == raw_.size()) return yield(character, Quoting::double_quotes);
    const char escaped = raw_[position_];
    if (escaped == '\n') {
      ++position_;
      return false;
    }
    if (!is_escaped_in_double_quotes(escaped)) return yield(character, Quoting::double_quotes);
    ++position_;
    return yield(escaped, Quoting::backslash);
  }

  bool step_unquoted() {
    const char character = raw_[position_++];
    if (character == '\'' || character == '"') {
      inside_ = character;
      return false;
    }
    if (character != '\\' || position_ == raw_.size()) return yield(character, Quoting::none);
    return yield(raw_[position_++], Quoting::backslash);
  }

  std::string_view raw_;
  std::size_t position_ = 0;
  char inside_ = 0;
  char character_ = 0;
  Quoting quoting_ = Quoting::none;
};

bool is_literal(char character, QuoteWalk::Quoting quoting) {
  if (is_shell_internal(character)) return false;
  if (quoting == QuoteWalk::Quoting::none) return is_literal_unquoted(character);
  if (quoting == QuoteWalk::Quoting::double_quotes) return character != '$' && character != '`';
  return true;
}

}  // namespace

std::string remove_shell_quotes(std::string_view raw) {
  std::string value;
  for (QuoteWalk walk(raw); walk.next();) value += walk.character();
  return value;
}

std::optional<std::string> literal_shell_word(std::string_view raw) {
  std::string value;
  for (QuoteWalk walk(raw); walk.next();) {
    if (!is_literal(walk.character(), walk.quoting())) return std::nullopt;
    value += walk.character();
  }
  return value;
}

bool is_shell_name(std::string_view text) { return !text.empty() && name_length(text) == text.size(); }

std::size_t end_of_brackets(std::string_view text, std::size_t begin, Brackets brackets) {
  std::size_t depth = 0;
  char quote = 0;
  for (std::size_t at = begin; at < text.size(); ++at) {
    const char character = text[at];
    if (character == '\\' && quote != '\'') {
      ++at;
    } else if (quote != 0) {
      if (character == quote) quote = 0;
    } else if (character == '\'' || character == '"' || character == '`') {
      quote = character;
    } else if (character == brackets.open) {
      ++depth;
    } else if (character == brackets.close) {
      if (depth <= 1) return at + 1;
      --depth;
    }
  }
  return begin;
}

bool is_shell_variable(std::string_view text) {
  const std::size_t name = name_length(text);
  if (name == 0 || name == text.size()) return name != 0;
  const bool subscripted = text[name] == '[' && end_of_brackets(text, name, {'[', ']'}) == text.size();
  return subscripted && text.size() > name + 2;
}

bool is_assignment_target(std::string_view text, std::size_t subscript_end) {
  const std::size_t name = name_length(text);
  if (name == 0) return false;
  const bool subscripted = name < text.size() && text[name] == '[';
  if (subscripted && subscript_end == 0) subscript_end = end_of_brackets(text, name, {'[', ']'});
  const std::string_view rest = text.substr(subscripted ? subscript_end : name);
  return rest.empty() || rest == "+";
}

bool is_assignment(std::string_view raw, std::size_t subscript_end) {
  const std::size_t equals = raw.find('=', subscript_end);
  return equals != std::string_view::npos && is_assignment_target(raw.substr(0, equals), subscript_end);
}

}  // namespace sluice::flow
