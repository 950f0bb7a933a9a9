#pragma once
// The graph of a flow file, for the engine. What a file can say and this version can't run is refused by name here, and
// stops being refused when the engine has it; so is what means nothing, and never will.
// Threading: pure functions.
#include <expected>
#include <vector>

#include "flow/flow_file.h"
#include "flow/graph.h"

namespace sluice::flow {

/// What no version can run: keys that mean nothing to their stage. In the order of their places.
std::vector<FileMistake> idle_keys(const FlowFile& file);

/// The stages so that every link leads on to a later one, and else in the order of the file; the rightmost of those that
/// fail is then the furthest down the flow. A stage's variables become a part of its command.
/// Errors: what is not there yet and `idle_keys`, all of it, in the order of its places.
std::expected<FlowGraph, std::vector<FileMistake>> graph_of(const FlowFile& file);

}  // namespace sluice::flow
