#include "flow/shell_lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

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

bool is_blank(int character) { return character == ' ' || character == '\t'; }

bool is_operator_start(int character) {
  return character == '(' || character == ')' || character == '<' || character == '>' || character == ';' ||
         character == '&' || character == '|';
}

bool breaks_word(int character) {
  return character == ShellScanner::kEnd || character == '\n' || is_blank(character) || is_operator_start(character);
}

bool is_digit(int character) { return character >= '0' && character <= '9'; }

bool waits_for_in(TokenKind kind) {
  return kind == TokenKind::keyword_for || kind == TokenKind::keyword_select || kind == TokenKind::keyword_case;
}

}  // namespace

struct ShellLexer::Word {
  std::string raw;
  std::size_t subscript_end = 0;
  bool quoted = false;
  bool expands = false;
  bool has_dollar = false;  // keeps a word from being a keyword
  bool all_digits = true;
  bool compound_assignment = false;
};

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
