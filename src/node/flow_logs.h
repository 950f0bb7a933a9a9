#pragma once
// What flows in the background have written: the calls that read it, on the node where it is kept or from another.
// Threading: belongs to the control loop; reads small pieces of files.
#include <memory>

#include "node/node_flows.h"

namespace sluice::node {

/// Flows/ReadLogs: of any flow of the cluster.
net::Awaitable<rpc::Status> read_logs(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call);
/// Workers/ReadOutput: of a part that ran here.
net::Awaitable<rpc::Status> read_output(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call);

}  // namespace sluice::node
