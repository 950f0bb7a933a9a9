#include "flow/shell_scanner.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice::flow {

/// How a bracketed construct is read. They differ in small ways that decide where it ends.
struct ShellScanner::GroupRules {
  char open = '(';
  char close = ')';
  const char* name = "(";
  bool counts_open = true;             // a bare opening bracket nests
  bool command_substitutions = false;  // $( is read as commands; otherwise its parentheses only count
  bool expansions = false;             // ${ $[ $( <( >( are read as constructs
};

ShellScanner::Nesting::Nesting(ShellScanner& scanner) : scanner_(scanner), ok_(++scanner.nesting_ <= kNestingMax) {
  if (!ok_) scanner_.fail(scanner_.position_, "the text is nested too deeply");
}

int ShellScanner::peek_raw() const {
  if (failed() || position_ >= text_.size()) return kEnd;
  return static_cast<unsigned char>(text_[position_]);
}

int ShellScanner::peek() {
  while (!failed() && text_.substr(position_, 2) == "\\\n") {
    step();
    step();
  }
  return peek_raw();
}

int ShellScanner::peek_next() {
  const std::size_t here = position_;
  take();
  const int next = peek();
  position_ = here;
  return next;
}

int ShellScanner::take_raw() {
  const int character = peek_raw();
  if (character != kEnd) step();
  return character;
}

int ShellScanner::take() {
  peek();
  return take_raw();
}

void ShellScanner::step() { position_ = text_[position_] == '\n' ? line_after(position_) : position_ + 1; }

std::size_t ShellScanner::line_after(std::size_t newline) const {
  const auto behind = std::ranges::upper_bound(line_jumps_, newline, {}, &LineJump::newline);
  const bool found = behind != line_jumps_.begin() && std::prev(behind)->newline == newline;
  return found ? std::prev(behind)->target : newline + 1;
}

void ShellScanner::skip_to(std::size_t position) {
  if (!failed()) position_ = position;
}

bool ShellScanner::fail(std::size_t offset, std::string message) {
  if (!failure_) failure_ = SyntaxError{offset, std::move(message)};
  return false;
}

ShellScanner::Checkpoint ShellScanner::checkpoint() const {
  return {position_, stray_at_words.size(), here_documents.size(), unparsed_parts.size(), line_jumps_.size()};
}

void ShellScanner::rewind(const Checkpoint& checkpoint) {
  position_ = checkpoint.position;
  stray_at_words.resize(checkpoint.stray_at_words);
  here_documents.resize(checkpoint.here_documents);
  unparsed_parts.resize(checkpoint.unparsed_parts);
  line_jumps_.resize(checkpoint.line_jumps);
}

bool ShellScanner::skip_single_quoted(std::size_t opened_at) {
  for (;;) {
    const int character = take_raw();
    if (character == kEnd) return fail(opened_at, "the quote ' is never closed");
    if (character == '\'') return true;
  }
}

bool ShellScanner::skip_dollar_single_quoted(std::size_t opened_at) {
  for (;;) {
    const int character = take_raw();
    if (character == kEnd) return fail(opened_at, "the quote $' is never closed");
    if (character == '\'') return true;
    if (character == '\\') take_raw();
  }
}

bool ShellScanner::skip_double_quoted(std::size_t opened_at) {
  const Nesting nesting(*this);
  if (!nesting.ok()) return false;
  bool after_dollar = false;
  for (;;) {
    const std::size_t at = position_;
    const int character = take();
    const bool was_after_dollar = std::exchange(after_dollar, false);
    if (character == kEnd) return fail(opened_at, "the quote \" is never closed");
    if (character == '"') return true;
    if (character == '\\') take_raw();
    if (character == '`' && !skip_backquoted(at)) return false;
    if (was_after_dollar && !skip_dollar_construct(character, at)) return false;
    after_dollar = character == '$' && !was_after_dollar;
  }
}

bool ShellScanner::skip_backquoted(std::size_t opened_at) {
  const std::size_t begin = position_;
  for (;;) {
    const std::size_t at = position_;
    const int character = take();
    if (character == kEnd) return fail(opened_at, "the ` is never closed");
    if (character == '\\') take_raw();
    if (character != '`') continue;
    unparsed_parts.push_back({UnparsedPart::Kind::backquoted, {begin, at}});
    return true;
  }
}

bool ShellScanner::skip_parameter_expansion(std::size_t opened_at) {
  return skip_group({.open = '{', .close = '}', .name = "${", .counts_open = false, .expansions = true}, opened_at);
}

bool ShellScanner::skip_bracket_arithmetic(std::size_t opened_at) {
  return skip_group({.open = '[', .close = ']', .name = "$[", .command_substitutions = true}, opened_at);
}

bool ShellScanner::skip_arithmetic(std::size_t opened_at) {
  return skip_group({.name = "((", .command_substitutions = true}, opened_at);
}

bool ShellScanner::skip_pattern_group(std::size_t opened_at) { return skip_group({}, opened_at); }

bool ShellScanner::skip_subscript(std::size_t opened_at) {
  return skip_group({.open = '[', .close = ']', .name = "[", .expansions = true}, opened_at);
}

bool ShellScanner::skip_substitution(std::size_t opened_at) {
  const Nesting nesting(*this);
  if (!nesting.ok()) return false;
  if (peek() != '(') return reader_->read_substitution(opened_at);
  // `$((` is read up to the parenthesis that matches its first one, without looking whether arithmetic or commands
  // stand inside: bash decides that when it expands it, and so a syntax error inside is found only then.
  const std::size_t begin = position_;
  if (!skip_group({.name = "$((", .command_substitutions = true}, opened_at)) return false;
  unparsed_parts.push_back({UnparsedPart::Kind::parenthesized, {begin, position_ - 1}});
  return true;
}

bool ShellScanner::skip_group(const GroupRules& rules, std::size_t opened_at) {
  const Nesting nesting(*this);
  if (!nesting.ok()) return false;
  std::size_t depth = 1;
  int before = 0;  // the character before, if it is one of $ < > and is not itself part of a pair
  for (;;) {
    const std::size_t at = position_;
    const int character = take();
    const bool after_dollar = before == '$';
    const bool after_angle = before == '<' || before == '>';
    before = 0;
    if (character == kEnd) return fail(opened_at, std::string("the ") + rules.name + " is never closed");
    if (character == rules.close && --depth == 0) return true;
    if (character == '\\') {
      take_raw();
      continue;
    }
    const bool is_construct =
        (after_dollar && rules.expansions && (character == '(' || character == '{' || character == '[')) ||
        (after_dollar && rules.command_substitutions && character == '(') ||
        (after_angle && rules.expansions && character == '(');
    if (is_construct) {
      if (!skip_dollar_construct(character, at)) return false;
      continue;
    }
    if (character == rules.open && rules.counts_open) ++depth;
    if (!skip_quoted_part(character, after_dollar)) return false;
    if ((character == '$' && !after_dollar) || ((character == '<' || character == '>') && !after_angle))
      before = character;
  }
}

bool ShellScanner::skip_quoted_part(int character, bool after_dollar) {
  const std::size_t at = position_ - 1;
  if (character == '\'') return after_dollar ? skip_dollar_single_quoted(at) : skip_single_quoted(at);
  if (character == '"') return skip_double_quoted(at);
  if (character == '`') return skip_backquoted(at);
  return true;
}

bool ShellScanner::skip_dollar_construct(int bracket, std::size_t opened_at) {
  if (bracket == '(') return skip_substitution(opened_at);
  if (bracket == '{') return skip_parameter_expansion(opened_at);
  if (bracket == '[') return skip_bracket_arithmetic(opened_at);
  return true;
}

bool ShellScanner::skip_expandable_text() {
  bool after_dollar = false;
  for (;;) {
    const std::size_t at = position_;
    const int character = take();
    const bool was_after_dollar = std::exchange(after_dollar, false);
    if (character == kEnd) return !failed();
    if (character == '\\') take_raw();
    if (character == '`' && !skip_backquoted(at)) return false;
    if (was_after_dollar && !skip_dollar_construct(character, at)) return false;
    after_dollar = character == '$' && !was_after_dollar;
  }
}

std::size_t ShellScanner::count_semicolons(TextRange range) {
  const Checkpoint before = checkpoint();
  position_ = range.begin;
  std::size_t count = 0;
  bool after_dollar = false;
  while (position_ < range.end && !failed()) {
    const std::size_t at = position_;
    const int character = take();
    const bool was_after_dollar = std::exchange(after_dollar, false);
    if (character == kEnd) break;
    if (character == ';') ++count;
    if (character == '\\') take_raw();
    if (was_after_dollar && !skip_dollar_construct(character, at)) break;
    if (!skip_quoted_part(character, was_after_dollar)) break;
    after_dollar = character == '$' && !was_after_dollar;
  }
  rewind(before);
  return count;
}

}  // namespace sluice::flow
