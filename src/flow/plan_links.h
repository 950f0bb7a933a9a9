#pragma once
// The pass that decides what carries each link, and what a person is told of it.
// Threading: pure functions.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flow/graph.h"
#include "flow/plan.h"

namespace sluice::flow {

/// Sets the links, the wiring and the streams of the programs. Requires: every other pass is done.
void join(const FlowGraph& graph, bool exact, Plan& plan);

/// A stage of workers with several links takes each for itself (graph_wiring.h); or: there is such a stage.
bool takes_links_apart(const Plan& plan, std::size_t stage);
bool takes_links_apart(const Plan& plan);

/// Workers answer in another order than they are asked, by what they have in hand. What one of the stage may have in hand, so
/// that those of a stage behind it which takes several links, and may join them, find the counterparts of what they hold
/// within what they hold. Nothing: it need not keep to anything.
std::optional<std::uint32_t> records_ahead_max(const Plan& plan, std::size_t stage);

/// "links: stdin -> 1 =records=> 2 -> stdout" of a row; of another graph a line for each link.
std::string describe_links(const Plan& plan);

/// "; where links merge, ...": what the links of a graph take from the promise of its stages; empty: nothing.
std::string describe_exceptions(const FlowGraph& graph);

/// By link of the graph, "copied", "merged", "drop": what its records meet with there.
std::vector<std::vector<std::string>> rules_of_links(const FlowGraph& graph);

}  // namespace sluice::flow
