#pragma once
// A flow file as a command is given it: by a name, or - for stdin.
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "flow/file_mistake.h"

namespace sluice::cli {

/// Whether one argument of `run` is a flow file and no pipeline, which may well end in such a word: `cat a.flow.yaml`. More
/// than one word is a flow file if a file has that name.
bool names_flow_file(std::string_view argument);
/// What to say, beside that there is no such command, of an argument that is no flow file by its name; or nothing.
std::string hint_of_flow_file(std::string_view argument);

/// What stands in it. Little more than a flow file may have is read, so that /dev/zero ends, too.
/// Errors: a sentence for the user.
std::expected<std::string, std::string> read_flow_text(const std::string& file);

/// Says each mistake on stderr, as FILE:LINE:COLUMN: MESSAGE.
void say_mistakes(const std::string& file, const std::vector<flow::FileMistake>& mistakes);

/// "users.flow.yaml", or "stdin".
std::string shown_name(const std::string& file);

}  // namespace sluice::cli
