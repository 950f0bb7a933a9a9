#pragma once
// Calls about flows, of any node of the cluster: listing, finding, awaiting, stopping and removing them. What concerns a flow of
// another node is passed on to that.
// Threading: belongs to the control loop.
#include <expected>
#include <memory>
#include <string>

#include "base/time.h"
#include "net/async.h"
#include "node/node_flows.h"

namespace sluice::v1 {
class Flow;
class ForgetFlowRequest;
class ForgetFlowResponse;
class ListFlowsRequest;
class ListFlowsResponse;
class RemoveFlowRequest;
class RemoveFlowResponse;
class ScaleStageRequest;
class ScaleStageResponse;
class StopFlowRequest;
class WaitFlowRequest;
}  // namespace sluice::v1

namespace sluice::node {

template <class Response>
using Answer = net::Awaitable<std::expected<Response, rpc::Status>>;

Answer<v1::ListFlowsResponse> list_flows(std::shared_ptr<NodeFlows> node, v1::ListFlowsRequest request);
/// How a call about a flow ends whose node is lost meanwhile.
rpc::Status lost_node(const std::string& node, const v1::Flow& flow);

/// By id, a beginning of it, or name; on any node.
Answer<v1::Flow> find_flow(std::shared_ptr<NodeFlows> node, std::string wanted);
/// Flows/WaitFlow. Ends when its caller has gone.
net::Awaitable<rpc::Status> wait_for_flow(std::shared_ptr<NodeFlows> node, rpc::ServerCall& call);
Answer<v1::Flow> stop_flow(std::shared_ptr<NodeFlows> node, rpc::CallInfo info, v1::StopFlowRequest request);
Answer<v1::ScaleStageResponse> scale_stage(std::shared_ptr<NodeFlows> node, rpc::CallInfo info,
                                           v1::ScaleStageRequest request);
Answer<v1::RemoveFlowResponse> remove_flow(std::shared_ptr<NodeFlows> node, rpc::CallInfo info,
                                           v1::RemoveFlowRequest request);

/// A flow in the background that could not be started: nothing of it is kept. If a node can't be told so, the record stays,
/// so that the flow can be removed later.
net::Awaitable<void> forget_failed(std::shared_ptr<NodeFlows> node, v1::Flow flow);

/// Workers/ForgetFlow: what is kept here of a flow that another node orchestrates.
Answer<v1::ForgetFlowResponse> forget_flow(std::shared_ptr<NodeFlows> node, v1::ForgetFlowRequest request);

/// A flow of this node. Returns when it has ended.
Answer<v1::Flow> wait_here(std::shared_ptr<NodeFlows> node, std::string id);
/// A flow that an earlier daemon left, and that has a timeout. Returns when it has ended, or the node is closing.
net::Awaitable<void> end_in_time(std::shared_ptr<NodeFlows> node, std::string id, FlowLimits limits);
/// A flow that an earlier daemon left: its spawners are told what an orchestrator would tell them.
net::Awaitable<void> stop_spawners(std::shared_ptr<NodeFlows> node, v1::Flow flow, Duration grace);

}  // namespace sluice::node
