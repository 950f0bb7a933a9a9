#pragma once
// The shell's grammar, as far as it decides where one stage of a pipeline ends and the next begins.
//
// `parse_shell_text` reads a text as bash would (POSIX.1-2017 volume XCU chapter 2, and the bash 5.2 manual) and
// answers: is it one pipeline, which commands is that pipeline made of, and which of them need no shell at all. It
// expands nothing and runs nothing. It is strict: what bash refuses as a syntax error is refused here too, before
// anything starts.
//
// Invariants: ranges lie within the text, are ascending and do not overlap; the work is at most quadratic in the length
// of the text, and its nesting is limited, so that no text can hang or overflow us.
// Threading: a pure function.
#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::flow {

/// A half-open range of byte offsets into the text.
struct TextRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool operator==(const TextRange&) const = default;
};

/// A word that begins with an unquoted `@` where a command could begin: `@x8`, `@on=db1`, `@by='/a b'`.
struct AtWord {
  TextRange range;
  std::string value;  // quotes removed: "@by=/a b"
  bool operator==(const AtWord&) const = default;
};

/// An unquoted word that begins with ./ or ../ and in which nothing is expanded: a file that the command may read.
struct PathWord {
  std::string path;
  bool made_by_command = false;  // it is the target of > or its like as well, and need not be there before
  bool operator==(const PathWord&) const = default;
};

/// One command of the top-level pipeline.
struct ParsedCommand {
  std::vector<AtWord> at_words;  // the leading ones, in order
  TextRange range;               // the command after its @ words, trimmed; no pipe operator, no trailing comment
  std::vector<TextRange> here_documents;  // bodies with their delimiter lines that lie behind `range`, in order
  // Bodies that lie within `range` although a command further left introduced them: `cat <<A | { NEWLINE body A; ...
  // }`. They are no part of this command's text.
  std::vector<TextRange> foreign_here_documents;
  // The words with their quotes removed, when the command is nothing but words that no shell would change: no
  // expansion, no pattern, no redirection, no assignment in front. Otherwise empty.
  std::optional<std::vector<std::string>> plain_words;
  std::vector<PathWord> path_words;        // at any depth, in order; targets of > and its like are none
  std::vector<std::string> path_patterns;  // unquoted words like ./*.txt, at any depth
  bool first_word_quoted = false;          // a quoted first word is never a keyword: 'if', \time
  // The command stands behind a pipe and its first word is an unquoted `time`: bash runs the program of that name
  // there, while the same text alone would be bash's keyword.
  bool first_word_is_time = false;
  bool stderr_joins_pipe = false;  // followed by `|&`
};

/// What makes a text more than one pipeline.
enum class OtherThanOnePipeline { semicolon, background, and_if, or_if, newline, negation, time, coprocess, function };

struct ParsedText {
  std::vector<ParsedCommand> commands;  // the one pipeline's; empty if the text holds no command, or `other` is set
  std::optional<OtherThanOnePipeline> other;
  // @ words that stand where a command begins, but not at the start of a stage of the one pipeline: inside a group, a
  // substitution or a compound command, or anywhere if `other` is set.
  std::vector<AtWord> stray_at_words;
};

struct SyntaxError {
  std::size_t offset = 0;  // where the text stops making sense
  std::string message;     // a lowercase phrase: "the quote ' is never closed"
};

/// What the shell that will read the text knows beyond bash's defaults.
struct ShellDialect {
  bool extended_patterns = false;  // ?(a|b) and its kind everywhere (bash's option extglob), not only in [[ ]]
};

/// Errors: what bash would refuse as a syntax error, a NUL byte, and nesting deeper than kNestingMax.
std::expected<ParsedText, SyntaxError> parse_shell_text(std::string_view text, ShellDialect dialect = {});

inline constexpr std::size_t kNestingMax = 200;

/// What the shell is given to run `command` on its own: its text, its redirection for `|&`, its here-document bodies.
std::string stage_text(std::string_view text, const ParsedCommand& command);

}  // namespace sluice::flow
