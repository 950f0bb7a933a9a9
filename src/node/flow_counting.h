#pragma once
// The counters of the flows of the cluster, for `sluice top` and /metrics: of those of this node the hosts of their parts are
// asked, of others their nodes.
// Threading: belongs to the control loop.
#include <memory>

#include "node/flow_directory.h"

namespace sluice::v1 {
class ReadCountersRequest;
class ReadCountersResponse;
}  // namespace sluice::v1

namespace sluice::node {

/// Flows/ReadCounters. Errors: not_found for a flow that is asked for and does not run.
Answer<v1::ReadCountersResponse> read_counters(std::shared_ptr<NodeFlows> node, v1::ReadCountersRequest request);

}  // namespace sluice::node
