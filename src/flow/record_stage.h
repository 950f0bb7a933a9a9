#pragma once
// A stage of `@each` whose command takes its record in place of `{}`.
// Threading: pure functions.
#include <expected>
#include <string>

#include "flow/graph.h"
#include "flow/shell_text.h"

namespace sluice::flow {

/// Puts marks where the record goes (record_command.h), if the stage has a process for each record. Of words that run
/// without a shell every `{}` is such a place. Errors: a sentence with a hint.
std::expected<void, std::string> mark_record(Stage& stage, ShellDialect dialect);

}  // namespace sluice::flow
