#pragma once
// The command of a stage in a flow file: the grammar of one stage of pipeline text, without its @ words, which are keys
// in a file. More than one command, `a | b` or `a; b`, is one shell's affair and one stage.
// Threading: pure functions.
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

#include "flow/graph.h"
#include "flow/shell_text.h"

namespace sluice::flow {

struct CommandMistake {
  std::size_t offset = 0;  // in the text
  std::string message;
};

/// Errors: bad syntax, an empty text, an @ word (with the key to write in its place).
std::expected<Stage, CommandMistake> read_file_command(std::string_view text, ShellDialect dialect);

}  // namespace sluice::flow
