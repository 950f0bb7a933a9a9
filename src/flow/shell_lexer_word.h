#pragma once
// What the parts of the lexer share: a word while it is read, and the classes of characters. No header for others.
#include <cstddef>
#include <string>

#include "flow/shell_lexer.h"

namespace sluice::flow {

struct ShellLexer::Word {
  std::string raw;
  std::size_t subscript_end = 0;
  bool quoted = false;
  bool expands = false;
  bool has_dollar = false;  // keeps a word from being a keyword
  bool all_digits = true;
  bool compound_assignment = false;
};

inline bool is_blank(int character) { return character == ' ' || character == '\t'; }

inline bool is_operator_start(int character) {
  return character == '(' || character == ')' || character == '<' || character == '>' || character == ';' ||
         character == '&' || character == '|';
}

inline bool breaks_word(int character) {
  return character == ShellScanner::kEnd || character == '\n' || is_blank(character) || is_operator_start(character);
}

inline bool is_digit(int character) { return character >= '0' && character <= '9'; }

}  // namespace sluice::flow
