#pragma once
// The flows of files that this version can run: those that pipeline text could say, one row of stages. Each thing that
// a file can say beyond that is refused by name here, and stops being refused when the engine has it.
// Threading: pure functions.
#include <expected>
#include <vector>

#include "flow/flow_file.h"
#include "flow/graph.h"

namespace sluice::flow {

/// The stages in the order of their links, as `read_pipeline_text` would give them. A stage's variables become a part
/// of its command.
/// Errors: what is not there yet, all of it, in the order of its places.
std::expected<FlowGraph, std::vector<FileMistake>> chain_of(const FlowFile& file);

}  // namespace sluice::flow
