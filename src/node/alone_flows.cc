#include "node/alone_flows.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {

using net::Awaitable;

namespace {

void note_end(v1::Flow& flow) {
  flow.set_state(v1::FLOW_STATE_ENDED);
  flow.set_status(125);
  flow.set_message(fmt::format("it was told to stop while {}, which had started it, was gone", flow.node()));
}

}  // namespace

void merge_alone(v1::ListFlowsResponse& list) {
  std::map<std::string, v1::Flow> alone;
  std::set<std::string> told;
  google::protobuf::RepeatedPtrField<v1::Flow> flows;
  for (v1::Flow& flow : *list.mutable_flows()) {
    if (flow.alone()) {
      auto [known, is_first] = alone.try_emplace(flow.id(), flow);
      if (!is_first) known->second.mutable_stages()->MergeFrom(flow.stages());
    } else {
      told.insert(flow.id());
      *flows.Add() = std::move(flow);
    }
  }
  for (auto& [id, flow] : alone) {
    if (told.contains(id)) continue;
    std::ranges::stable_sort(*flow.mutable_stages(), {}, [](const v1::FlowStage& stage) { return stage.index(); });
    *flows.Add() = std::move(flow);
  }
  *list.mutable_flows() = std::move(flows);
}

Awaitable<std::expected<v1::Flow, rpc::Status>> stop_alone_here(std::shared_ptr<NodeFlows> node,
                                                                v1::StopFlowRequest request) {
  std::vector<v1::Flow> alone = node->workers.served().alone();
  auto found = std::ranges::find(alone, request.flow(), &v1::Flow::id);
  if (found == alone.end())
    co_return std::unexpected(
        rpc::Status{rpc::Code::not_found, fmt::format("nothing of the flow {} is alone here", request.flow())});
  v1::Flow flow = std::move(*found);
  co_await node->workers.served().stop_alone(flow.id(), std::chrono::milliseconds(request.grace_ms()));
  note_end(flow);
  co_return flow;
}

Awaitable<std::expected<v1::Flow, rpc::Status>> stop_alone(std::shared_ptr<NodeFlows> node, rpc::CallInfo info,
                                                           v1::Flow flow, v1::StopFlowRequest request) {
  request.set_flow(flow.id());
  request.set_alone_here(true);
  std::map<NodeId, std::string> hosts;  // and their names
  for (const v1::FlowStage& stage : flow.stages())
    if (auto id = NodeId::parse(stage.node_id())) hosts[*id] = stage.node();
  std::vector<std::string> failures;
  for (const auto& [id, name] : hosts) {
    std::expected<v1::Flow, rpc::Status> stopped;
    if (id == node->self()) {
      stopped = co_await stop_alone_here(node, request);
    } else {
      auto channel = co_await node->core.peers.get(id, Clock::now() + kAskTime);
      if (!channel) {
        failures.push_back(fmt::format("{} ({})", name, channel.error().message));
        continue;
      }
      rpc::CallOptions options = on_behalf(info);
      options.timeout.reset();
      stopped = co_await rpc::call<v1::Flow>(**channel, "sluice.v1.Flows/StopFlow", request, options);
    }
    bool is_gone = !stopped && stopped.error().code == rpc::Code::not_found;  // it has ended meanwhile
    if (!stopped && !is_gone) failures.push_back(fmt::format("{} ({})", name, stopped.error().message));
  }
  if (!failures.empty())
    co_return std::unexpected(rpc::Status{
        rpc::Code::unavailable, fmt::format("the flow {} may still run on {}", flow.id(), fmt::join(failures, ", "))});
  note_end(flow);
  co_return flow;
}

}  // namespace sluice::node
