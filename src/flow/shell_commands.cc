// The part of the parser that reads single commands: simple ones, compound ones, functions and coprocesses.
#include <algorithm>
#include <iterator>
#include <utility>

#include "flow/shell_parser.h"
#include "flow/shell_word.h"

namespace sluice::flow {

bool ShellParser::parse_command(Level level, CommandFacts& facts) {
  switch (peek()) {
    case TokenKind::keyword_function:
      return parse_function(level);
    case TokenKind::keyword_coproc:
      return parse_coprocess(level, facts);
    case TokenKind::word:
    case TokenKind::assignment_word:
    case TokenKind::number:
    case TokenKind::redirect_variable:
      return parse_simple_command(level, facts);
    default:
      break;
  }
  if (is_redirection_operator(peek())) return parse_simple_command(level, facts);
  facts.only_words = false;
  return parse_compound_command() && parse_redirections();
}

bool ShellParser::parse_simple_command(Level level, CommandFacts& facts) {
  for (bool first = facts.words.empty();; first = false) {
    const TokenKind kind = peek();
    if (kind == TokenKind::word) {
      facts.first_is_word = facts.first_is_word || first;
      // Behind an assignment or a redirection no @ word is read, and none is taken for the command either.
      const Token& next = lexer_.peek();
      if (!first && facts.words.empty() && next.raw.starts_with('@'))
        scanner_.stray_at_words.push_back({next.range, remove_shell_quotes(next.raw)});
      facts.words.push_back(take());
      note_path_word(facts.words.back(), PathUse::read);
      lexer_.set_only_redirections(false);
      if (first && peek() == TokenKind::left_paren) {
        facts = {.words = {}, .only_words = false, .first_is_word = false};
        set_other(level, OtherThanOnePipeline::function);
        take();
        if (!expect(TokenKind::right_paren, "`)`", "`(`", last_end_ - 1)) return false;
        return parse_function_body();
      }
    } else if (kind == TokenKind::assignment_word) {
      facts.only_words = false;
      take();
      lexer_.set_only_redirections(false);
    } else if (kind == TokenKind::number || kind == TokenKind::redirect_variable || is_redirection_operator(kind)) {
      facts.only_words = false;
      if (!parse_redirection()) return false;
      if (first) lexer_.set_only_redirections(true);
    } else {
      lexer_.set_only_redirections(false);
      return !scanner_.failed();
    }
  }
}

void ShellParser::note_path_word(const Token& word, PathUse use) {
  if (word.quoted || !(word.raw.starts_with("./") || word.raw.starts_with("../"))) return;
  if (auto path = literal_shell_word(word.raw))
    path_words_.emplace_back(std::move(*path), use);
  else if (word.raw.find_first_of("$`\\'\"{(<") == std::string::npos &&
           word.raw.find_first_of("*?[") != std::string::npos)
    path_patterns_.emplace_back(word.raw);
}

bool ShellParser::parse_redirections() {
  while (peek_is({TokenKind::number, TokenKind::redirect_variable}) || is_redirection_operator(peek())) {
    if (!parse_redirection()) return false;
  }
  return !scanner_.failed();
}

bool ShellParser::parse_redirection() {
  if (!is_redirection_operator(peek())) take();
  if (!is_redirection_operator(peek())) return unexpected();
  const TokenKind kind = take().kind;
  const bool duplicates = kind == TokenKind::less_and || kind == TokenKind::greater_and;
  if (duplicates && peek_is({TokenKind::number, TokenKind::dash})) {
    take();
    return !scanner_.failed();
  }
  if (peek() != TokenKind::word) return expect_word("the target of the redirection");
  const Token target = take();
  if (kind == TokenKind::less_less || kind == TokenKind::less_less_dash) {
    lexer_.expect_here_document(command_index_, target, kind == TokenKind::less_less_dash);
  }
  bool reads = kind == TokenKind::less || kind == TokenKind::less_greater;
  note_path_word(target, reads ? PathUse::read : PathUse::written);
  return !scanner_.failed();
}

bool ShellParser::parse_function(Level level) {
  const ShellScanner::Nesting nesting(scanner_);
  if (!nesting.ok()) return false;
  set_other(level, OtherThanOnePipeline::function);
  take();
  if (!expect_word("the name of the function")) return false;
  if (peek() != TokenKind::left_paren) return parse_function_body();
  const std::size_t opened_at = take().range.begin;
  if (peek() == TokenKind::right_paren) {
    take();
    return parse_function_body();
  }
  // Without a ) at once, this is the body itself: a subshell.
  return parse_compound_list() && expect(TokenKind::right_paren, "`)`", "`(`", opened_at) && parse_redirections();
}

bool ShellParser::parse_function_body() {
  skip_newlines();
  return parse_compound_command() && parse_redirections();
}

bool ShellParser::parse_coprocess(Level level, CommandFacts& facts) {
  set_other(level, OtherThanOnePipeline::coprocess);
  facts.only_words = false;
  take();
  std::vector<AtWord> at_words;
  if (!take_at_words(at_words)) return false;
  std::ranges::move(at_words, std::back_inserter(scanner_.stray_at_words));
  const bool redirected = peek_is({TokenKind::number, TokenKind::redirect_variable}) || is_redirection_operator(peek());
  if (redirected || peek() == TokenKind::assignment_word) return parse_simple_command(Level::nested, facts);
  if (peek() == TokenKind::word) {
    facts.words.push_back(take());  // the coprocess's name, or its command's first word, which what follows decides
    if (!starts_compound_command(peek())) return parse_simple_command(Level::nested, facts);
  }
  return parse_compound_command() && parse_redirections();
}

bool ShellParser::parse_compound_command() {
  const ShellScanner::Nesting nesting(scanner_);
  if (!nesting.ok()) return false;
  switch (peek()) {
    case TokenKind::left_paren:
      return parse_group(TokenKind::right_paren, "`(`", "`)`");
    case TokenKind::left_brace:
      return parse_group(TokenKind::right_brace, "`{`", "`}`");
    case TokenKind::keyword_if:
      return parse_if();
    case TokenKind::keyword_while:
    case TokenKind::keyword_until:
      return parse_while();
    case TokenKind::keyword_for:
    case TokenKind::keyword_select:
      return parse_for();
    case TokenKind::keyword_case:
      return parse_case();
    case TokenKind::conditional_start:
      return parse_conditional();
    case TokenKind::arithmetic_command:
      take();
      return !scanner_.failed();
    default:
      return unexpected();
  }
}

bool ShellParser::parse_group(TokenKind close, std::string_view opened, std::string_view closes) {
  const std::size_t opened_at = take().range.begin;
  return parse_compound_list() && expect(close, closes, opened, opened_at);
}

bool ShellParser::parse_if() {
  const std::size_t opened_at = take().range.begin;
  for (;;) {
    if (!parse_compound_list() || !expect(TokenKind::keyword_then, "`then`", "`if`", opened_at)) return false;
    if (!parse_compound_list()) return false;
    if (peek() != TokenKind::keyword_elif) break;
    take();
  }
  if (peek() == TokenKind::keyword_else) {
    take();
    if (!parse_compound_list()) return false;
  }
  return expect(TokenKind::keyword_fi, "`fi`", "`if`", opened_at);
}

bool ShellParser::parse_while() {
  const Token opened = take();
  const std::string_view name = opened.kind == TokenKind::keyword_while ? "`while`" : "`until`";
  return parse_compound_list() && expect(TokenKind::keyword_do, "`do`", name, opened.range.begin) &&
         parse_compound_list() && expect(TokenKind::keyword_done, "`done`", name, opened.range.begin);
}

bool ShellParser::parse_for() {
  take();
  if (peek() == TokenKind::arithmetic_for) return parse_arithmetic_for();
  if (!expect_word("the variable of the loop")) return false;
  if (peek() == TokenKind::semicolon) {
    take();
    skip_newlines();
    return parse_loop_body();
  }
  skip_newlines();
  return parse_loop_words() && parse_loop_body();
}

bool ShellParser::parse_loop_words() {
  if (peek() != TokenKind::keyword_in) return !scanner_.failed();
  take();
  while (peek() == TokenKind::word) take();
  if (!peek_is({TokenKind::semicolon, TokenKind::newline})) return unexpected();
  take();
  skip_newlines();
  return !scanner_.failed();
}

bool ShellParser::parse_arithmetic_for() {
  const Token header = take();
  const TextRange content{header.range.begin + 2, header.range.end - 2};
  if (scanner_.count_semicolons(content) != 2) {
    return scanner_.fail(header.range.begin, "the (( )) behind `for` must hold three expressions and two `;`");
  }
  if (peek_is({TokenKind::semicolon, TokenKind::newline})) {
    take();
    skip_newlines();
  }
  return parse_loop_body();
}

bool ShellParser::parse_loop_body() {
  if (peek() == TokenKind::left_brace) return parse_group(TokenKind::right_brace, "`{`", "`}`");
  if (peek() != TokenKind::keyword_do) return unexpected();
  return parse_group(TokenKind::keyword_done, "`do`", "`done`");
}

bool ShellParser::parse_case() {
  const std::size_t opened_at = take().range.begin;
  if (!expect_word("the word of the `case`")) return false;
  skip_newlines();
  if (!expect(TokenKind::keyword_in, "`in`", "`case`", opened_at)) return false;
  for (;;) {
    skip_newlines();
    if (peek_is({TokenKind::keyword_esac, TokenKind::end})) break;
    if (!parse_case_pattern()) return false;
    skip_newlines();
    const bool empty =
        peek_is({TokenKind::semi_semi, TokenKind::semi_and, TokenKind::semi_semi_and, TokenKind::keyword_esac});
    if (!empty && !parse_compound_list()) return false;
    if (!peek_is({TokenKind::semi_semi, TokenKind::semi_and, TokenKind::semi_semi_and})) break;
    take();
  }
  return expect(TokenKind::keyword_esac, "`esac`", "`case`", opened_at);
}

bool ShellParser::parse_case_pattern() {
  if (peek() == TokenKind::left_paren) take();
  if (!expect_word("a pattern")) return false;
  while (peek() == TokenKind::pipe) {
    take();
    if (!expect_word("a pattern")) return false;
  }
  if (peek() != TokenKind::right_paren) return unexpected();
  take();
  return !scanner_.failed();
}

}  // namespace sluice::flow
