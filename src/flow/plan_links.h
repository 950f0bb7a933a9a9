#pragma once
// The pass that decides what carries each link, and what a person is told of it.
// Threading: pure functions.
#include <string>
#include <vector>

#include "flow/graph.h"
#include "flow/plan.h"

namespace sluice::flow {

/// Sets the links, the wiring and the streams of the programs. Requires: every other pass is done.
void join(const FlowGraph& graph, bool exact, Plan& plan);

/// "links: stdin -> 1 =records=> 2 -> stdout" of a row; of another graph a line for each link.
std::string describe_links(const Plan& plan);

/// "; where links merge, ...": what the links of a graph take from the promise of its stages; empty: nothing.
std::string describe_exceptions(const FlowGraph& graph);

/// By link of the graph, "copied", "merged", "drop": what its records meet with there.
std::vector<std::vector<std::string>> rules_of_links(const FlowGraph& graph);

}  // namespace sluice::flow
