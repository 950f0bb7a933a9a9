#include "node/node_flows.h"

#include <utility>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {

NodeFlows::NodeFlows(NodeCore node_core, WorkerService& worker_service, std::string data_directory)
    : core(node_core),
      workers(worker_service),
      kept(std::move(data_directory), core.members.self(), core.log),
      tasks(core.executor, core.log),
      changed(core.executor) {}

NodeFlows::~NodeFlows() = default;

// What runs under an orchestrator is asked of that; what an earlier daemon has left, of its spawners; what another node has
// left here, of its parts.
std::vector<v1::Flow> NodeFlows::list() const {
  std::vector<v1::Flow> own;
  for (const auto& [id, flow] : orchestrated) flow->describe(own.emplace_back());
  for (v1::Flow& flow : kept.list()) {
    auto id = FlowId::parse(flow.id());
    if (!id || !orchestrated.contains(*id)) own.push_back(std::move(flow));
  }
  for (v1::Flow& flow : workers.served().alone()) own.push_back(std::move(flow));
  return own;
}

rpc::CallOptions on_behalf(const rpc::CallInfo& info) {
  return {.on_behalf_of = info.caller.connection.name.empty() ? "local" : info.caller.connection.name,
          .on_behalf_role = info.caller.effective};
}

}  // namespace sluice::node
