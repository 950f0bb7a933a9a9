#include "flow/shell_parser.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "flow/shell_word.h"

namespace sluice::flow {
namespace {

bool starts_simple_command(TokenKind kind) {
  return kind == TokenKind::word || kind == TokenKind::assignment_word || kind == TokenKind::number ||
         kind == TokenKind::redirect_variable || is_redirection_operator(kind);
}

/// What ends a list of commands without being an error in itself.
bool closes_list(TokenKind kind) {
  switch (kind) {
    case TokenKind::end:
    case TokenKind::right_paren:
    case TokenKind::right_brace:
    case TokenKind::keyword_then:
    case TokenKind::keyword_else:
    case TokenKind::keyword_elif:
    case TokenKind::keyword_fi:
    case TokenKind::keyword_do:
    case TokenKind::keyword_done:
    case TokenKind::keyword_esac:
    case TokenKind::semi_semi:
    case TokenKind::semi_and:
    case TokenKind::semi_semi_and:
      return true;
    default:
      return false;
  }
}

std::optional<std::vector<std::string>> plain_words(const std::vector<Token>& words) {
  std::vector<std::string> values;
  for (const Token& word : words) {
    auto value = literal_shell_word(word.raw);
    if (!value) return std::nullopt;
    values.push_back(std::move(*value));
  }
  const bool runnable = !values.empty() && !values.front().empty() && !words.front().raw.starts_with('%');
  return runnable ? std::optional(std::move(values)) : std::nullopt;
}

/// One line of printable text, whatever the word holds.
std::string quote_for_message(std::string_view text) {
  constexpr std::size_t kShownMax = 40;  // enough to recognise the place; the offset says the rest
  std::string shown;
  for (const char character : text.substr(0, kShownMax)) {
    const bool control = static_cast<unsigned char>(character) < 0x20 || character == 0x7f;
    shown += control ? '?' : character;
  }
  return "`" + shown + (text.size() > kShownMax ? "...`" : "`");
}

}  // namespace

ShellParser::ShellParser(std::string_view text, ShellDialect dialect) : scanner_(text), lexer_(scanner_) {
  lexer_.set_extended_patterns(dialect.extended_patterns);
  scanner_.set_substitution_reader(this);
}

bool ShellParser::parse() {
  for (bool first = true;; first = false) {
    skip_newlines();
    if (scanner_.failed()) return false;
    if (peek() == TokenKind::end) break;
    if (!first) set_other(Level::top, OtherThanOnePipeline::newline);
    if (!parse_line()) return false;
    // bash has run the line before it reads the next one. Outside of [[ ]] it knows extended patterns only once an
    // option is set; we cannot tell whether that line does, so its naming the option is enough.
    const bool names_option = scanner_.text().substr(0, last_end_).find("extglob") != std::string_view::npos;
    if (names_option) lexer_.set_extended_patterns(true);
  }
  lexer_.finish_here_documents();
  return true;
}

ParsedText ShellParser::take_result() {
  std::vector<AtWord>& stray = result_.stray_at_words;
  stray = std::move(scanner_.stray_at_words);
  if (result_.other) {
    for (ParsedCommand& command : result_.commands) std::ranges::move(command.at_words, std::back_inserter(stray));
    result_.commands.clear();
  }
  for (const HereDocument& document : scanner_.here_documents) {
    for (std::size_t index = 0; index < result_.commands.size(); ++index) {
      ParsedCommand& command = result_.commands[index];
      const bool own = index == document.command;
      const bool inside = document.body.begin >= command.range.begin && document.body.end <= command.range.end;
      if (own && !inside) command.here_documents.push_back(document.body);
      if (!own && inside) command.foreign_here_documents.push_back(document.body);
    }
  }
  for (ParsedCommand& command : result_.commands) {
    std::ranges::sort(command.here_documents, {}, &TextRange::begin);
    std::ranges::sort(command.foreign_here_documents, {}, &TextRange::begin);
  }
  return std::move(result_);
}

/// One line of the text, as far as commands go: a list that ends with a newline or with the text.
bool ShellParser::parse_line() {
  for (;;) {
    if (!parse_pipeline(Level::top)) return false;
    const TokenKind separator = peek();
    if (separator == TokenKind::newline || separator == TokenKind::end) return end_line();
    if (separator == TokenKind::and_and || separator == TokenKind::or_or) {
      const bool both = separator == TokenKind::and_and;
      set_other(Level::top, both ? OtherThanOnePipeline::and_if : OtherThanOnePipeline::or_if);
      take();
      skip_newlines();
      continue;
    }
    if (separator != TokenKind::ampersand && separator != TokenKind::semicolon) return unexpected();
    take();
    if (separator == TokenKind::ampersand) set_other(Level::top, OtherThanOnePipeline::background);
    if (peek_is({TokenKind::newline, TokenKind::end})) return end_line();
    set_other(Level::top, OtherThanOnePipeline::semicolon);
  }
}

bool ShellParser::end_line() {
  if (peek() == TokenKind::newline) take();
  return !scanner_.failed();
}

bool ShellParser::parse_compound_list() {
  skip_newlines();
  for (;;) {
    if (!parse_pipeline(Level::nested)) return false;
    switch (peek()) {
      case TokenKind::and_and:
      case TokenKind::or_or:
        take();
        skip_newlines();
        break;
      case TokenKind::ampersand:
      case TokenKind::semicolon:
      case TokenKind::newline:
        take();
        skip_newlines();
        if (closes_list(peek())) return !scanner_.failed();
        break;
      default:
        return !scanner_.failed();
    }
  }
}

bool ShellParser::parse_pipeline(Level level) {
  std::vector<AtWord> at_words;
  bool empty = false;
  if (!parse_pipeline_prefix(level, at_words, empty)) return false;
  if (empty) return true;
  if (!parse_pipeline_command(level, std::move(at_words))) return false;
  while (peek_is({TokenKind::pipe, TokenKind::pipe_and})) {
    const bool joins_stderr = take().kind == TokenKind::pipe_and;
    if (level == Level::top && !result_.commands.empty()) result_.commands.back().stderr_joins_pipe = joins_stderr;
    if (level == Level::top) ++command_index_;
    skip_newlines();
    if (!parse_pipeline_command(level, {})) return false;
  }
  return !scanner_.failed();
}

/// Reads `!` and `time`, and the @ words around them. `empty` if no command follows, which bash allows behind these
/// two.
bool ShellParser::parse_pipeline_prefix(Level level, std::vector<AtWord>& at_words, bool& empty) {
  bool prefixed = false;
  for (;;) {
    if (!take_at_words(at_words)) return false;
    if (peek() == TokenKind::bang) {
      set_other(level, OtherThanOnePipeline::negation);
      take();
    } else if (peek() == TokenKind::keyword_time) {
      set_other(level, OtherThanOnePipeline::time);
      take();
      if (peek() == TokenKind::time_option) take();
      if (peek() == TokenKind::time_option_end) take();
    } else {
      empty = prefixed && at_words.empty() && peek_is({TokenKind::semicolon, TokenKind::newline, TokenKind::end});
      return !scanner_.failed();
    }
    prefixed = true;
  }
}

bool ShellParser::parse_pipeline_command(Level level, std::vector<AtWord> at_words) {
  if (!take_at_words(at_words)) return false;
  const bool command_follows = starts_simple_command(peek()) || starts_compound_command(peek()) ||
                               peek_is({TokenKind::keyword_function, TokenKind::keyword_coproc});
  if (!command_follows && !at_words.empty() && !scanner_.failed()) {
    return scanner_.fail(at_words.back().range.begin, "no command follows " + quote_for_message(at_words.back().value));
  }
  const std::size_t begin = lexer_.peek().range.begin;
  CommandFacts facts;
  if (!parse_command(level, facts)) return false;
  if (level == Level::top) {
    record_command(begin, std::move(at_words), facts);
  } else {
    std::ranges::move(at_words, std::back_inserter(scanner_.stray_at_words));
  }
  return true;
}

void ShellParser::record_command(std::size_t begin, std::vector<AtWord> at_words, const CommandFacts& facts) {
  ParsedCommand command;
  command.at_words = std::move(at_words);
  command.range = {begin, last_end_};
  if (!facts.words.empty()) command.first_word_quoted = facts.words.front().quoted;
  if (facts.only_words) command.plain_words = plain_words(facts.words);
  for (const auto& [path, use] : path_words_) {
    bool made_here = std::ranges::find(path_words_, std::pair(path, PathUse::written)) != path_words_.end();
    if (use == PathUse::read) command.path_words.push_back({path, made_here});
  }
  path_words_.clear();
  command.path_patterns = std::exchange(path_patterns_, {});
  command.first_word_is_time = facts.first_is_word && facts.words.front().raw == "time";
  result_.commands.push_back(std::move(command));
}

bool ShellParser::read_substitution(std::size_t opened_at) {
  ShellLexer::Context outer = lexer_.enter_substitution();
  const std::size_t outer_end = last_end_;
  skip_newlines();
  const bool empty = peek() == TokenKind::right_paren;
  if (!empty && !parse_compound_list()) return false;
  if (!expect(TokenKind::right_paren, "`)`", "substitution", opened_at)) return false;
  lexer_.leave_substitution(std::move(outer));
  last_end_ = outer_end;
  return true;
}

bool ShellParser::peek_is(std::initializer_list<TokenKind> kinds) {
  return std::ranges::find(kinds, peek()) != kinds.end();
}

void ShellParser::skip_newlines() {
  while (peek() == TokenKind::newline) take();
}

Token ShellParser::take() {
  Token token = lexer_.take();
  last_end_ = token.range.end;
  return token;
}

bool ShellParser::take_at_words(std::vector<AtWord>& at_words) {
  while (peek() == TokenKind::word && lexer_.peek().raw.starts_with('@')) {
    const Token token = lexer_.take_at_word();
    if (token.expands)
      return scanner_.fail(token.range.begin, "@ words are not expanded: " + quote_for_message(token.raw));
    at_words.push_back({token.range, remove_shell_quotes(token.raw)});
  }
  return !scanner_.failed();
}

bool ShellParser::expect(TokenKind kind, std::string_view wanted, std::string_view opened, std::size_t opened_at) {
  if (peek() == kind) {
    take();
    return !scanner_.failed();
  }
  if (peek() == TokenKind::end) {
    return scanner_.fail(opened_at, std::string(wanted) + " is missing, which closes the " + std::string(opened));
  }
  return unexpected();
}

bool ShellParser::expect_word(std::string_view wanted) {
  if (peek() == TokenKind::word) {
    take();
    return !scanner_.failed();
  }
  return scanner_.fail(lexer_.peek().range.begin, std::string(wanted) + " must stand here, not " + describe_next());
}

bool ShellParser::unexpected() {
  if (peek() == TokenKind::end) return scanner_.fail(scanner_.position(), "the text ends where more must follow");
  return scanner_.fail(lexer_.peek().range.begin, describe_next() + " may not stand here");
}

std::string ShellParser::describe_next() {
  const Token& token = lexer_.peek();
  if (token.kind == TokenKind::end) return "the end of the text";
  if (token.kind == TokenKind::newline) return "the end of the line";
  return quote_for_message(scanner_.text().substr(token.range.begin, token.range.end - token.range.begin));
}

void ShellParser::set_other(Level level, OtherThanOnePipeline other) {
  if (level == Level::top && !result_.other) result_.other = other;
}

}  // namespace sluice::flow
