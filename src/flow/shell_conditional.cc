// The part of the parser that reads [[ ]], which has a small grammar of its own.
#include <array>
#include <string_view>

#include "flow/shell_parser.h"

namespace sluice::flow {
namespace {

bool is_unary_operator(std::string_view word) {
  return word.size() == 2 && word[0] == '-' &&
         std::string_view("abcdefghknoprstuvwxzGLNORS").find(word[1]) != std::string_view::npos;
}

bool is_pattern_operator(std::string_view word) { return word == "=" || word == "==" || word == "!="; }

bool is_binary_operator(std::string_view word) {
  constexpr auto kOperators =
      std::to_array<std::string_view>({"-ef", "-nt", "-ot", "-eq", "-ne", "-lt", "-le", "-gt", "-ge"});
  for (const std::string_view known : kOperators) {
    if (word == known) return true;
  }
  return is_pattern_operator(word);
}

}  // namespace

bool ShellParser::parse_conditional() {
  const std::size_t opened_at = take().range.begin;
  lexer_.enter_conditional();
  if (!parse_conditional_or()) return false;
  if (!expect(TokenKind::conditional_end, "`]]`", "`[[`", opened_at)) return false;
  lexer_.leave_conditional();
  return true;
}

bool ShellParser::skip_conditional_newlines() {
  skip_newlines();
  return !scanner_.failed();
}

bool ShellParser::parse_conditional_or() {
  const ShellScanner::Nesting nesting(scanner_);
  if (!nesting.ok() || !parse_conditional_and()) return false;
  while (peek() == TokenKind::or_or) {
    take();
    if (!parse_conditional_and()) return false;
  }
  return !scanner_.failed();
}

bool ShellParser::parse_conditional_and() {
  if (!parse_conditional_term()) return false;
  while (peek() == TokenKind::and_and) {
    take();
    if (!parse_conditional_term()) return false;
  }
  return !scanner_.failed();
}

bool ShellParser::parse_conditional_term() {
  skip_newlines();
  while (peek() == TokenKind::word && lexer_.peek().raw == "!") {
    take();
    skip_newlines();
  }
  if (peek() == TokenKind::left_paren) {
    const std::size_t opened_at = take().range.begin;
    return parse_conditional_or() && expect(TokenKind::right_paren, "`)`", "`(`", opened_at) &&
           skip_conditional_newlines();
  }
  if (peek() != TokenKind::word) return unexpected();
  if (is_unary_operator(take().raw)) return expect_word("a word to test") && skip_conditional_newlines();
  return parse_conditional_operand();
}

/// What stands behind the first word of a test: an operator and a second word, or nothing.
bool ShellParser::parse_conditional_operand() {
  if (peek_is({TokenKind::conditional_end, TokenKind::and_and, TokenKind::or_or, TokenKind::right_paren})) {
    return !scanner_.failed();
  }
  const std::string operation = peek() == TokenKind::word ? lexer_.peek().raw : std::string();
  const bool compares =
      is_binary_operator(operation) || operation == "=~" || peek() == TokenKind::less || peek() == TokenKind::greater;
  if (!compares) return unexpected();
  take();
  lexer_.peek_conditional_word(is_pattern_operator(operation) ? ShellLexer::ConditionalWord::pattern
                               : operation == "=~"            ? ShellLexer::ConditionalWord::regular_expression
                                                              : ShellLexer::ConditionalWord::plain);
  return expect_word("a word to compare with") && skip_conditional_newlines();
}

}  // namespace sluice::flow
