#pragma once
// How many cores of a host nothing runs on, by which workers are shared out (flow/placement.h).
// Threading: pure functions that look at the host; and a coroutine of the control loop.
#include <cstddef>
#include <vector>

#include "flow/placement.h"
#include "net/async.h"
#include "node/node_core.h"

namespace sluice::node {

/// Of this host. `programs`: that this node runs for flows. The load average of the last minute (proc(5), loadavg) knows of
/// everybody's programs, but not of those that have just been started. May be negative: more runs than there are cores.
double free_cores(std::size_t programs);

/// Asks every node of `nodes` but this one, whose own is known, and waits a second at most. One that does not answer
/// has none.
net::Awaitable<void> ask_free_cores(NodeCore core, double own, std::vector<flow::NodeChoice>& nodes);

}  // namespace sluice::node
