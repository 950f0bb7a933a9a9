// How a word is read: its quotes, expansions, patterns and assignments.
#include <utility>

#include "flow/shell_lexer_word.h"
#include "flow/shell_word.h"

namespace sluice::flow {

Token ShellLexer::read_word(std::size_t begin) {
  Word word;
  while (read_word_part(word)) {
  }
  const TokenKind kind = classify(word);
  return {.kind = kind,
          .range = {begin, scanner_.position()},
          .raw = std::move(word.raw),
          .quoted = word.quoted,
          .expands = word.expands};
}

/// Reads one more piece of the word. False where it ends, or at a failure.
bool ShellLexer::read_word_part(Word& word) {
  const int character = scanner_.peek();
  const std::size_t begin = scanner_.position();
  if (character == ShellScanner::kEnd) return false;
  if (character == '\\') return read_escaped(word);
  if (character == '\'' || character == '"' || character == '`') return read_quoted(word, character);
  if (context_.conditional_word == ConditionalWord::regular_expression && character == '(') {
    scanner_.take();
    return read_bracketed(word, begin, scanner_.skip_pattern_group(begin));
  }
  const bool regular_expression_bar =
      context_.conditional_word == ConditionalWord::regular_expression && character == '|';
  if (starts_extended_pattern(character)) {
    scanner_.take();
    scanner_.take();
    return read_bracketed(word, begin, scanner_.skip_pattern_group(begin));
  }
  if (character == '$') return read_dollar(word);
  if (character == '<' || character == '>') {
    if (scanner_.peek_next() != '(') return false;
    scanner_.take();
    scanner_.take();
    word.has_dollar = word.expands = true;
    return read_bracketed(word, begin, scanner_.skip_substitution(begin));
  }
  if (character == '[' && starts_subscript(word)) {
    scanner_.take();
    const bool closed = scanner_.skip_subscript(begin);
    word.all_digits = false;
    word.raw += scanner_.text_since(begin);
    word.subscript_end = word.raw.size();
    return closed;
  }
  if (character == '=' && starts_compound_assignment(word)) {
    scanner_.take();
    scanner_.take();
    word.compound_assignment = true;
    return read_bracketed(word, begin, read_compound_assignment(begin));
  }
  if (breaks_word(character) && !regular_expression_bar) return false;
  scanner_.take();
  word.all_digits = word.all_digits && is_digit(character);
  word.raw += static_cast<char>(character);
  return true;
}

bool ShellLexer::read_escaped(Word& word) {
  word.raw += static_cast<char>(scanner_.take());
  word.quoted = true;
  word.all_digits = false;
  const int escaped = scanner_.take_raw();
  if (escaped == ShellScanner::kEnd) return false;
  word.raw += static_cast<char>(escaped);
  return true;
}

bool ShellLexer::read_quoted(Word& word, int quote) {
  const std::size_t begin = scanner_.position();
  scanner_.take();
  const bool closed = quote == '\''  ? scanner_.skip_single_quoted(begin)
                      : quote == '"' ? scanner_.skip_double_quoted(begin)
                                     : scanner_.skip_backquoted(begin);
  const std::string_view text = scanner_.text_since(begin);
  if (quote == '`') {
    word.expands = true;
  } else {
    word.quoted = true;
  }
  if (quote == '"' && text.find_first_of("$`") != std::string_view::npos) word.expands = true;
  if (quote == '"' && text.find('$') != std::string_view::npos) word.has_dollar = true;
  return read_bracketed(word, begin, closed);
}

bool ShellLexer::read_dollar(Word& word) {
  const std::size_t begin = scanner_.position();
  scanner_.take();
  word.expands = word.has_dollar = true;
  bool closed = true;
  switch (scanner_.peek()) {
    case '(':
      scanner_.take();
      closed = scanner_.skip_substitution(begin);
      break;
    case '{':
      scanner_.take();
      closed = scanner_.skip_parameter_expansion(begin);
      break;
    case '[':
      scanner_.take();
      closed = scanner_.skip_bracket_arithmetic(begin);
      break;
    case '$':
      scanner_.take();
      break;
    case '\'':
      scanner_.take();
      word.quoted = true;
      closed = scanner_.skip_dollar_single_quoted(begin);
      break;
    case '"':
      scanner_.take();
      word.quoted = true;
      closed = scanner_.skip_double_quoted(begin);
      break;
    default:
      break;
  }
  return read_bracketed(word, begin, closed);
}

/// Adds a construct that began at `begin` to the word.
bool ShellLexer::read_bracketed(Word& word, std::size_t begin, bool closed) {
  word.all_digits = false;
  word.raw += scanner_.text_since(begin);
  return closed;
}

bool ShellLexer::starts_extended_pattern(int character) {
  const bool enabled = extended_patterns_ || context_.conditional_word == ConditionalWord::pattern;
  if (!enabled || std::string_view("@!?*+").find(static_cast<char>(character)) == std::string_view::npos) return false;
  return scanner_.peek_next() == '(';
}

bool ShellLexer::starts_subscript(const Word& word) const {
  if (word.raw.empty()) return context_.in_compound_assignment;
  return assignment_acceptable() && is_shell_name(word.raw);
}

bool ShellLexer::starts_compound_assignment(const Word& word) {
  if (!assignment_acceptable() && !context_.assignments_are_arguments) return false;
  if (!is_assignment_target(word.raw, word.subscript_end)) return false;
  return scanner_.peek_next() == '(';
}

bool ShellLexer::read_compound_assignment(std::size_t opened_at) {
  const ShellScanner::Nesting nesting(scanner_);
  if (!nesting.ok()) return false;
  const bool were_arguments = std::exchange(context_.assignments_are_arguments, false);
  const bool was_inside = std::exchange(context_.in_compound_assignment, true);
  const bool were_only_redirections = std::exchange(context_.only_redirections, false);
  const TokenKind last = std::exchange(context_.last, TokenKind::word);
  const bool closed = read_compound_elements(opened_at);
  context_.only_redirections = were_only_redirections;
  context_.last = last;
  context_.in_compound_assignment = was_inside;
  context_.assignments_are_arguments = were_arguments;
  return closed;
}

bool ShellLexer::read_compound_elements(std::size_t opened_at) {
  for (;;) {
    const Token token = read();
    switch (token.kind) {
      case TokenKind::word:
      case TokenKind::assignment_word:
      case TokenKind::newline:
        continue;
      case TokenKind::right_paren:
        return true;
      case TokenKind::end:
        return scanner_.fail(opened_at, "the ( of the array is never closed");
      default:
        return scanner_.fail(token.range.begin, "only words may stand in an array's (...)");
    }
  }
}

}  // namespace sluice::flow
