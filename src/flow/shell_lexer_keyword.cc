// What a word that was read is: a keyword, a name, an assignment, a number in front of a redirection.
#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "flow/shell_lexer_word.h"
#include "flow/shell_word.h"

namespace sluice::flow {
namespace {

struct Keyword {
  std::string_view text;
  TokenKind kind;
};

constexpr auto kKeywords = std::to_array<Keyword>({
    {"if", TokenKind::keyword_if},
    {"then", TokenKind::keyword_then},
    {"else", TokenKind::keyword_else},
    {"elif", TokenKind::keyword_elif},
    {"fi", TokenKind::keyword_fi},
    {"case", TokenKind::keyword_case},
    {"esac", TokenKind::keyword_esac},
    {"for", TokenKind::keyword_for},
    {"select", TokenKind::keyword_select},
    {"while", TokenKind::keyword_while},
    {"until", TokenKind::keyword_until},
    {"do", TokenKind::keyword_do},
    {"done", TokenKind::keyword_done},
    {"in", TokenKind::keyword_in},
    {"function", TokenKind::keyword_function},
    {"time", TokenKind::keyword_time},
    {"coproc", TokenKind::keyword_coproc},
    {"{", TokenKind::left_brace},
    {"}", TokenKind::right_brace},
    {"!", TokenKind::bang},
    {"[[", TokenKind::conditional_start},
    {"]]", TokenKind::conditional_end},
});

// Behind the name of these commands, NAME=(...) is an argument instead of a syntax error.
constexpr auto kAssignmentCommands =
    std::to_array<std::string_view>({"alias", "declare", "eval", "export", "let", "local", "readonly", "typeset"});

bool waits_for_in(TokenKind kind) {
  return kind == TokenKind::keyword_for || kind == TokenKind::keyword_select || kind == TokenKind::keyword_case;
}

}  // namespace

bool ShellLexer::keyword_acceptable() const {
  switch (context_.last) {
    case TokenKind::newline:
    case TokenKind::semicolon:
    case TokenKind::left_paren:
    case TokenKind::right_paren:
    case TokenKind::pipe:
    case TokenKind::pipe_and:
    case TokenKind::ampersand:
    case TokenKind::left_brace:
    case TokenKind::right_brace:
    case TokenKind::and_and:
    case TokenKind::or_or:
    case TokenKind::arithmetic_command:
    case TokenKind::bang:
    case TokenKind::conditional_end:
    case TokenKind::keyword_do:
    case TokenKind::keyword_done:
    case TokenKind::keyword_if:
    case TokenKind::keyword_then:
    case TokenKind::keyword_elif:
    case TokenKind::keyword_else:
    case TokenKind::keyword_fi:
    case TokenKind::keyword_esac:
    case TokenKind::keyword_while:
    case TokenKind::keyword_until:
    case TokenKind::keyword_coproc:
    case TokenKind::keyword_time:
    case TokenKind::time_option:
    case TokenKind::time_option_end:
    case TokenKind::semi_semi:
    case TokenKind::semi_and:
    case TokenKind::semi_semi_and:
    case TokenKind::substitution_start:
      return true;
    case TokenKind::word:
      return context_.before_last == TokenKind::keyword_coproc || context_.before_last == TokenKind::keyword_function;
    default:
      return false;
  }
}

// Not at the start of a substitution, where bash first reads `time` as a word, and as a keyword when it expands it.
bool ShellLexer::time_acceptable() const {
  switch (context_.last) {
    case TokenKind::newline:
    case TokenKind::semicolon:
      return context_.before_last != TokenKind::pipe;
    case TokenKind::and_and:
    case TokenKind::or_or:
    case TokenKind::ampersand:
    case TokenKind::keyword_while:
    case TokenKind::keyword_until:
    case TokenKind::keyword_do:
    case TokenKind::keyword_if:
    case TokenKind::keyword_then:
    case TokenKind::keyword_elif:
    case TokenKind::keyword_else:
    case TokenKind::left_brace:
    case TokenKind::left_paren:
    case TokenKind::right_paren:
    case TokenKind::bang:
    case TokenKind::keyword_time:
    case TokenKind::time_option:
    case TokenKind::time_option_end:
      return true;
    default:
      return false;
  }
}

bool ShellLexer::command_position() const {
  if (context_.last == TokenKind::assignment_word) return true;
  // Not the target of a further redirection; but behind &>> bash takes NAME=... for an assignment, and then refuses it.
  const bool target = is_redirection_operator(context_.last) && context_.last != TokenKind::and_greater_greater;
  if (context_.only_redirections && !context_.in_case_pattern && !target) return true;
  const bool behind_clause = context_.last == TokenKind::semi_semi || context_.last == TokenKind::semi_and ||
                             context_.last == TokenKind::semi_semi_and;
  return !behind_clause && keyword_acceptable();
}

bool ShellLexer::assignment_acceptable() const { return command_position() && !context_.in_case_pattern; }

bool ShellLexer::is_number(const Word& word) {
  if (!word.all_digits || word.raw.empty()) return false;
  const int next = scanner_.peek();
  const bool in_place =
      next == '<' || next == '>' || context_.last == TokenKind::less_and || context_.last == TokenKind::greater_and;
  int value = 0;
  const char* const end = word.raw.data() + word.raw.size();
  return in_place && std::from_chars(word.raw.data(), end, value).ec == std::errc{};
}

bool ShellLexer::is_redirect_variable(const Word& word) {
  if (word.raw.size() < 3 || word.raw.front() != '{' || word.raw.back() != '}') return false;
  if (scanner_.peek() != '<' && scanner_.peek() != '>') return false;
  return is_shell_variable(std::string_view(word.raw).substr(1, word.raw.size() - 2));
}

std::optional<TokenKind> ShellLexer::special_word(const Word& word) {
  const bool behind_loop_name = context_.last == TokenKind::word && waits_for_in(context_.before_last) &&
                                context_.before_last != TokenKind::keyword_case;
  const bool behind_name_or_newline = context_.last == TokenKind::word || context_.last == TokenKind::newline;
  if (word.raw == "in" && context_.awaits_in != TokenKind::end && behind_name_or_newline) {
    // On a line of its own, bash takes any `in` inside a `case` for the one of the `case`: a `for` there cannot have
    // it.
    const bool own_line = context_.last == TokenKind::newline;
    context_.in_case_pattern = own_line ? context_.in_case_statement : context_.awaits_in == TokenKind::keyword_case;
    context_.awaits_in = TokenKind::end;
    return TokenKind::keyword_in;
  }
  const bool behind_loop_header = context_.awaits_in != TokenKind::end &&
                                  (context_.last == TokenKind::newline || context_.last == TokenKind::semicolon);
  if (word.raw == "do" && (behind_loop_name || behind_loop_header)) {
    context_.awaits_in = TokenKind::end;
    return TokenKind::keyword_do;
  }
  if (word.raw == "esac" && context_.last == TokenKind::keyword_in && context_.in_case_pattern) {
    context_.in_case_pattern = false;
    return TokenKind::keyword_esac;
  }
  const bool brace_starts_body =
      std::exchange(context_.function_body_may_start, false) || context_.last == TokenKind::arithmetic_for;
  if (word.raw == "{" && brace_starts_body) {
    ++braces_open_;
    return TokenKind::left_brace;
  }
  if (word.raw == "do" && context_.last == TokenKind::arithmetic_for) return TokenKind::keyword_do;
  if (word.raw == "}" && braces_open_ > 0 && keyword_acceptable()) {
    --braces_open_;
    return TokenKind::right_brace;
  }
  if (word.raw == "-p" && context_.last == TokenKind::keyword_time) return TokenKind::time_option;
  const bool behind_time = context_.last == TokenKind::keyword_time || context_.last == TokenKind::time_option;
  if (word.raw == "--" && behind_time) return TokenKind::time_option_end;
  if (word.raw == "]]" && context_.in_conditional) return TokenKind::conditional_end;
  return std::nullopt;
}

std::optional<TokenKind> ShellLexer::keyword(const Word& word) {
  if (word.quoted || word.has_dollar || !keyword_acceptable() || context_.in_conditional) return std::nullopt;
  const auto* const found = std::ranges::find(kKeywords, std::string_view(word.raw), &Keyword::text);
  if (found == kKeywords.end()) return std::nullopt;
  if (context_.in_case_pattern) {
    // Between `case x in` and `)` only the end of the whole `case` is a keyword, and not where a pattern must follow.
    if (found->kind != TokenKind::keyword_esac) return std::nullopt;
    if (context_.last == TokenKind::pipe || context_.last == TokenKind::left_paren) return std::nullopt;
  }
  if (found->kind == TokenKind::keyword_time && !time_acceptable()) return std::nullopt;
  if (found->kind == TokenKind::keyword_case) context_.in_case_statement = true;
  if (found->kind == TokenKind::keyword_esac) context_.in_case_pattern = context_.in_case_statement = false;
  if (found->kind == TokenKind::left_brace) ++braces_open_;
  if (found->kind == TokenKind::right_brace && braces_open_ > 0) --braces_open_;
  return found->kind;
}

TokenKind ShellLexer::classify(const Word& word) {
  if (is_number(word)) return TokenKind::number;
  if (const auto special = special_word(word)) return *special;
  if (const auto found = keyword(word)) return *found;
  const bool names_assignment_command = std::ranges::find(kAssignmentCommands, word.raw) != kAssignmentCommands.end();
  if (command_position() && names_assignment_command) context_.assignments_are_arguments = true;
  if (is_redirect_variable(word)) return TokenKind::redirect_variable;
  if (context_.last == TokenKind::keyword_function) context_.function_body_may_start = true;
  if (waits_for_in(context_.last)) context_.awaits_in = context_.last;
  if (assignment_acceptable() && is_assignment(word.raw, word.subscript_end)) return TokenKind::assignment_word;
  return TokenKind::word;
}

}  // namespace sluice::flow
