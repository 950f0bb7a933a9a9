#pragma once
// Ending the flows in the background that go on under their spawners, of a node that is not there to be asked.
// Threading: any; waits for the flows.
#include <string>
#include <vector>

#include "base/time.h"

namespace sluice::node {

/// SIGTERM to what the nodes of these data directories have left running, after the grace SIGKILL. Returns when nothing is
/// left of it, its spawners included, but after `patience` in any case.
void end_kept_flows(const std::vector<std::string>& data_directories, Duration grace, Duration patience);

}  // namespace sluice::node
