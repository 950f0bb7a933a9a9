#pragma once
// A command that takes its record in place of `{}`: where the braces stand, and what is executed for one record.
//
// The record becomes one word, whatever is in it: an argument as it is where a program is executed, a word in single
// quotes where a shell reads the command. Braces that a shell would not take for a word of its own are refused, not
// left: within quotes, backquotes, `${...}`, arithmetic and here-documents a record would be text that is interpreted.
// Threading: values and pure functions.
#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::flow {

/// Stands for the record in the words and the text of a stage until the command is made.
inline constexpr std::string_view kRecordMark = "sluice_record_7d1f3b52c90e";

/// `command` with a mark in place of each unquoted `{}`; nothing if it has none. Requires: the shell's grammar takes it.
/// Errors: a sentence with a hint; braces stand where no record may.
std::expected<std::optional<std::string>, std::string> mark_record_places(std::string_view command);

class RecordCommand final {
 public:
  /// Nothing is replaced: the record comes on stdin.
  RecordCommand() = default;
  /// `arguments` with marks; the one at `shell_text`, if any, is read by a shell.
  RecordCommand(std::vector<std::string> arguments, std::optional<std::size_t> shell_text);

  /// The record comes in place of braces, and not on stdin.
  bool takes_argument() const { return takes_argument_; }
  /// Errors: a sentence; the record can be no argument: it holds a zero byte, or is too long (execve(2)).
  std::expected<std::vector<std::string>, std::string> arguments_for(std::string_view record) const;
  /// What these come to as a person would type it.
  std::string text_of(const std::vector<std::string>& arguments) const;

 private:
  struct Argument {
    std::vector<std::string> pieces;  // between two of them stands the record
    bool quoted = false;
  };
  std::vector<Argument> arguments_;
  bool takes_argument_ = false;
};

}  // namespace sluice::flow
