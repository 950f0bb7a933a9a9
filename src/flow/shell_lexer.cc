#include "flow/shell_lexer.h"

#include <utility>

#include "flow/shell_lexer_word.h"

namespace sluice::flow {

const Token& ShellLexer::peek() {
  if (!context_.ahead) {
    // Reading may enter a substitution, which replaces the context for as long as it lasts.
    Token token = read();
    context_.ahead = std::move(token);
  }
  return *context_.ahead;
}

Token ShellLexer::take() {
  peek();
  Token token = std::move(*context_.ahead);
  context_.ahead.reset();
  if (context_.in_conditional) return token;
  context_.before_last = context_.last;
  context_.last = token.kind;
  return token;
}

Token ShellLexer::take_at_word() {
  peek();
  Token token = std::move(*context_.ahead);
  context_.ahead.reset();
  return token;
}

void ShellLexer::leave_conditional() {
  context_.in_conditional = false;
  context_.last = TokenKind::conditional_end;
}

const Token& ShellLexer::peek_conditional_word(ConditionalWord word) {
  context_.conditional_word = word;
  peek();
  context_.conditional_word = ConditionalWord::plain;
  return *context_.ahead;
}

ShellLexer::Context ShellLexer::enter_substitution() {
  Context fresh;
  fresh.last = TokenKind::substitution_start;
  fresh.in_substitution = true;
  fresh.in_case_statement = context_.in_case_statement;
  return std::exchange(context_, std::move(fresh));
}

void ShellLexer::leave_substitution(Context outer) {
  finish_here_documents();
  context_ = std::move(outer);
}

void ShellLexer::skip_comment() {
  while (scanner_.peek_raw() != '\n' && scanner_.peek_raw() != ShellScanner::kEnd) scanner_.take_raw();
}

Token ShellLexer::read() {
  while (is_blank(scanner_.peek())) scanner_.take();
  const std::size_t begin = scanner_.position();
  if (scanner_.peek() == ShellScanner::kEnd) return {.kind = TokenKind::end, .range = {begin, begin}};
  const bool comment = scanner_.peek() == '#';
  if (comment) skip_comment();
  if (comment || scanner_.peek() == '\n') {
    const std::size_t at = scanner_.position();
    scanner_.take_raw();
    read_here_documents();
    context_.assignments_are_arguments = false;
    return {.kind = TokenKind::newline, .range = {at, at}};
  }
  const bool regular_expression = context_.conditional_word == ConditionalWord::regular_expression;
  if (is_operator_start(scanner_.peek()) && !regular_expression) return read_operator(begin);
  const bool after_duplication = context_.last == TokenKind::less_and || context_.last == TokenKind::greater_and;
  if (scanner_.peek() == '-' && after_duplication) {
    scanner_.take();
    return {.kind = TokenKind::dash, .range = {begin, scanner_.position()}};
  }
  return read_word(begin);
}

Token ShellLexer::read_operator(std::size_t begin) {
  context_.assignments_are_arguments = false;
  const bool angle = scanner_.peek() == '<' || scanner_.peek() == '>';
  if (angle && scanner_.peek_next() == '(') return read_word(begin);
  const TokenKind kind = read_operator_kind();
  return {.kind = kind, .range = {begin, scanner_.position()}};
}

TokenKind ShellLexer::read_operator_kind() {
  const std::size_t begin = scanner_.position();
  switch (scanner_.take()) {
    case '<':
      return read_less();
    case '>':
      return read_greater();
    case '&':
      return read_ampersand();
    case ';':
      return read_semicolon();
    case '|':
      return read_pipe();
    case '(':
      return read_left_paren(begin);
    default:
      return read_right_paren();
  }
}

TokenKind ShellLexer::read_less() {
  switch (scanner_.peek()) {
    case '&':
      scanner_.take();
      return TokenKind::less_and;
    case '>':
      scanner_.take();
      return TokenKind::less_greater;
    case '<':
      scanner_.take();
      break;
    default:
      return TokenKind::less;
  }
  switch (scanner_.peek()) {
    case '-':
      scanner_.take();
      return TokenKind::less_less_dash;
    case '<':
      scanner_.take();
      return TokenKind::less_less_less;
    default:
      return TokenKind::less_less;
  }
}

TokenKind ShellLexer::read_greater() {
  switch (scanner_.peek()) {
    case '>':
      scanner_.take();
      return TokenKind::greater_greater;
    case '&':
      scanner_.take();
      return TokenKind::greater_and;
    case '|':
      scanner_.take();
      return TokenKind::greater_pipe;
    default:
      return TokenKind::greater;
  }
}

TokenKind ShellLexer::read_ampersand() {
  if (scanner_.peek() == '&') {
    scanner_.take();
    return TokenKind::and_and;
  }
  if (scanner_.peek() != '>') return TokenKind::ampersand;
  scanner_.take();
  if (scanner_.peek() != '>') return TokenKind::and_greater;
  scanner_.take();
  return TokenKind::and_greater_greater;
}

TokenKind ShellLexer::read_semicolon() {
  const int next = scanner_.peek();
  if (next != ';' && next != '&') return TokenKind::semicolon;
  scanner_.take();
  context_.in_case_pattern = true;
  if (next == '&') return TokenKind::semi_and;
  if (scanner_.peek() != '&') return TokenKind::semi_semi;
  scanner_.take();
  return TokenKind::semi_semi_and;
}

TokenKind ShellLexer::read_pipe() {
  const int next = scanner_.peek();
  if (next != '|' && next != '&') return TokenKind::pipe;
  scanner_.take();
  return next == '|' ? TokenKind::or_or : TokenKind::pipe_and;
}

TokenKind ShellLexer::read_left_paren(std::size_t begin) {
  if (scanner_.peek() != '(') return TokenKind::left_paren;
  const bool behind_for = context_.last == TokenKind::keyword_for;
  if (!behind_for && !keyword_acceptable()) return TokenKind::left_paren;
  const ShellScanner::Checkpoint before_second = scanner_.checkpoint();
  scanner_.take();
  if (double_paren_is_arithmetic(scanner_.position())) {
    return behind_for ? TokenKind::arithmetic_for : TokenKind::arithmetic_command;
  }
  if (behind_for) scanner_.fail(begin, "the (( behind `for` does not end in ))");
  scanner_.rewind(before_second);
  return TokenKind::left_paren;
}

bool ShellLexer::double_paren_is_arithmetic(std::size_t content) {
  const auto decided = arithmetic_decisions_.find(content);
  if (decided != arithmetic_decisions_.end() && !decided->second) return false;
  if (!scanner_.skip_arithmetic(content - 2)) return false;
  const bool arithmetic = scanner_.peek_raw() == ')';
  arithmetic_decisions_[content] = arithmetic;
  if (arithmetic) {
    scanner_.take_raw();
    return true;
  }
  // bash goes back by reading the parentheses again from a copy. It loses a line break directly behind them and then
  // finds a syntax error, unless that stands in a copy already.
  const std::size_t end = scanner_.position();
  const std::string_view behind = scanner_.text().substr(end);
  const bool breaks_line = behind.starts_with('\n') || behind.starts_with("\\\n");
  if (breaks_line && end >= reread_until_)
    scanner_.fail(end, "no line break may stand directly behind the inner ) of `((`");
  reread_until_ = std::max(reread_until_, end + 1);
  return false;
}

TokenKind ShellLexer::read_right_paren() {
  const bool function_parens = context_.last == TokenKind::left_paren && context_.before_last == TokenKind::word;
  if (function_parens) context_.function_body_may_start = true;
  context_.in_case_pattern = false;
  return TokenKind::right_paren;
}

}  // namespace sluice::flow
