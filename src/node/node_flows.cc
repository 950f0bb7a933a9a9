#include "node/node_flows.h"

#include <chrono>
#include <utility>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::chrono::seconds kWriteAgain{1};

// Once more when the node closes: the next daemon could only guess.
net::Awaitable<void> write_ends(std::shared_ptr<NodeFlows> node) {
  while (!node->kept.write_ends() && !node->closing) co_await node->changed.wait(Clock::now() + kWriteAgain);
  node->writes_ends = false;
}

}  // namespace

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

void save_end(const std::shared_ptr<NodeFlows>& node, const v1::Flow& flow) {
  if (!node->kept.save_end(flow) && !std::exchange(node->writes_ends, true)) node->tasks.spawn(write_ends(node));
}

rpc::CallOptions on_behalf(const rpc::CallInfo& info) {
  return {.on_behalf_of = info.caller.connection.name.empty() ? "local" : info.caller.connection.name,
          .on_behalf_role = info.caller.effective};
}

}  // namespace sluice::node
