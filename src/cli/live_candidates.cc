#include "cli/live_candidates.h"

#include <chrono>
#include <functional>
#include <memory>

#include "base/id.h"
#include "sluice/v1/cluster.pb.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::cli {
namespace {

constexpr std::chrono::milliseconds kPatience{100};

template <typename Response, typename Request>
net::Awaitable<int> ask(NodeOptions options, const char* method, Request request, std::shared_ptr<Response> into) {
  auto session = co_await NodeSession::open(std::move(options));
  if (!session) co_return session.error().status;
  auto answer = co_await rpc::call<Response>((*session)->channel(), method, request);
  if (!answer) co_return kFailed;
  *into = *std::move(answer);
  co_return kSuccess;
}

// What is under way when the time is over is left as it is: this process only prints, and ends.
template <typename Response, typename Request>
std::shared_ptr<Response> answer_of(const NodeOptions& options, const char* method, const Request& request) {
  auto response = std::make_shared<Response>();
  if (NodeSession::can_be_found(options))
    run_loop([&] { return ask<Response, Request>(options, method, request, response); }, kPatience);
  return response;
}

Candidates names_of(const v1::ListNodesResponse& list, const std::string& (v1::Node::*field)() const) {
  Candidates names;
  for (const v1::Node& node : list.nodes()) names.push_back((node.*field)());
  return names;
}

std::shared_ptr<v1::ListNodesResponse> list_nodes(const NodeOptions& options) {
  return answer_of<v1::ListNodesResponse>(options, "sluice.v1.Cluster/ListNodes", v1::ListNodesRequest());
}

}  // namespace

Candidates live_node_names(const NodeOptions& options) { return names_of(*list_nodes(options), &v1::Node::name); }

Candidates live_node_urls(const NodeOptions& options) { return names_of(*list_nodes(options), &v1::Node::url); }

Candidates live_flows(const NodeOptions& options, FlowsWanted wanted) {
  v1::ListFlowsRequest request;
  request.set_all(wanted != FlowsWanted::running);
  auto list = answer_of<v1::ListFlowsResponse>(options, "sluice.v1.Flows/ListFlows", request);
  Candidates candidates;
  for (const v1::Flow& flow : list->flows()) {
    bool ended = flow.state() == v1::FLOW_STATE_ENDED;
    if (wanted == FlowsWanted::all || ended == (wanted == FlowsWanted::ended)) {
      candidates.push_back(flow.id().substr(0, kShortIdDigits));
      if (!flow.name().empty()) candidates.push_back(flow.name());
    }
  }
  return candidates;
}

}  // namespace sluice::cli
