#pragma once
// `sluice run` with stages elsewhere: finds a node and hands the flow to it.
#include <string>
#include <vector>

#include "cli/run_options.h"
#include "exec/entry_state.h"
#include "exec/environment.h"
#include "flow/graph.h"

namespace sluice::cli {

/// Runs `graph`, or shows its plan. Forks a spawner for each of its parts that runs here; no other thread may run yet.
/// Returns what to exit with.
int run_on_cluster(flow::FlowGraph graph, RunOptions options, exec::Environment environment,
                   const exec::EntryState& entry);

/// What to tell the user when no spawner can be forked; `error`: errno.
std::string no_spawner(int error);

/// Whether a node can be found at all: an option, a variable, a context, or a socket on this host.
bool cluster_can_be_found(const RunOptions& options);

/// Whether the user has said which: by an option, a variable or a context. A node of this host that merely runs is not.
bool names_a_node(const RunOptions& options);

}  // namespace sluice::cli
