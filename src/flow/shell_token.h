#pragma once
// The tokens that the shell's grammar is made of.
//
// The names of the kinds follow the grammar in POSIX.1-2017 XCU 2.10 where it has one. Keywords are tokens of their
// own, because whether a word is a keyword depends on where it stands, which only the lexer knows.
// Threading: values.
#include <cstdint>
#include <string>

#include "flow/shell_text.h"

namespace sluice::flow {

enum class TokenKind : std::uint8_t {
  end,
  newline,
  word,
  assignment_word,    // NAME=..., where the shell would assign
  number,             // digits in front of a redirection, or behind <& and >&
  redirect_variable,  // {NAME} in front of a redirection
  dash,               // the - of <&- and >&-
  // Operators.
  semicolon,
  ampersand,
  and_and,
  or_or,
  pipe,
  pipe_and,
  left_paren,
  right_paren,
  semi_semi,
  semi_and,
  semi_semi_and,
  // Redirection operators; `is_redirection_operator` relies on their order.
  less,
  greater,
  less_less,
  less_less_dash,
  less_less_less,
  greater_greater,
  less_and,
  greater_and,
  less_greater,
  greater_pipe,
  and_greater,
  and_greater_greater,
  // Keywords.
  keyword_if,
  keyword_then,
  keyword_else,
  keyword_elif,
  keyword_fi,
  keyword_case,
  keyword_esac,
  keyword_for,
  keyword_select,
  keyword_while,
  keyword_until,
  keyword_do,
  keyword_done,
  keyword_in,
  keyword_function,
  keyword_time,
  keyword_coproc,
  left_brace,
  right_brace,
  bang,
  conditional_start,  // [[
  conditional_end,    // ]]
  // What only the lexer's context produces.
  time_option,         // the -p behind `time`
  time_option_end,     // the -- behind `time`
  arithmetic_command,  // ((...))
  arithmetic_for,      // the ((...)) behind `for`
  substitution_start,  // only in the history: the $( or <( that a command list stands in
};

constexpr bool is_redirection_operator(TokenKind kind) {
  return kind >= TokenKind::less && kind <= TokenKind::and_greater_greater;
}

constexpr bool starts_compound_command(TokenKind kind) {
  switch (kind) {
    case TokenKind::keyword_if:
    case TokenKind::keyword_case:
    case TokenKind::keyword_for:
    case TokenKind::keyword_select:
    case TokenKind::keyword_while:
    case TokenKind::keyword_until:
    case TokenKind::left_brace:
    case TokenKind::left_paren:
    case TokenKind::arithmetic_command:
    case TokenKind::conditional_start:
      return true;
    default:
      return false;
  }
}

struct Token {
  TokenKind kind = TokenKind::end;
  TextRange range;
  std::string raw = {};  // of words: the bytes with their quotes, without line continuations outside of them
  bool quoted = false;   // of words: some part is quoted
  bool expands = false;  // of words: holds $, a backquote or a process substitution outside of '...'
};

}  // namespace sluice::flow
