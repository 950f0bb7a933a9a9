#pragma once
// What a running node knows, for completion. Nobody waits for it: what is not here within a tenth of a second is not offered,
// and nothing is said of the reason.
#include "cli/completion.h"
#include "cli/node_session.h"

namespace sluice::cli {

Candidates live_node_names(const NodeOptions& options);
Candidates live_node_urls(const NodeOptions& options);

enum class FlowsWanted { all, running, ended };
/// Short ids, and names.
Candidates live_flows(const NodeOptions& options, FlowsWanted wanted);

}  // namespace sluice::cli
