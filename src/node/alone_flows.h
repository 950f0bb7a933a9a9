#pragma once
// Flows whose orchestrator is gone, as the nodes know them that run parts of them: each tells of its own.
// Threading: belongs to the control loop.
#include <expected>
#include <memory>

#include "net/async.h"
#include "node/node_flows.h"

namespace sluice::v1 {
class Flow;
class ListFlowsResponse;
class StopFlowRequest;
}  // namespace sluice::v1

namespace sluice::node {

/// One of each flow: as its orchestrator tells it if that was asked too, else with the stages of all its parts.
void merge_alone(v1::ListFlowsResponse& list);
/// On every node that has told of it. Errors: nodes that did not answer.
net::Awaitable<std::expected<v1::Flow, rpc::Status>> stop_alone(std::shared_ptr<NodeFlows> node, rpc::CallInfo info,
                                                                v1::Flow flow, v1::StopFlowRequest request);
/// The parts of it that run on this node.
net::Awaitable<std::expected<v1::Flow, rpc::Status>> stop_alone_here(std::shared_ptr<NodeFlows> node,
                                                                     v1::StopFlowRequest request);

}  // namespace sluice::node
