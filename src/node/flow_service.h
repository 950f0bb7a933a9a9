#pragma once
// The flows of this node: those that it orchestrates, in the foreground and in the background, and those in the background
// that an earlier daemon left behind. Calls about a flow of another node are passed on to that.
// Threading: belongs to the control loop.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "link/data_loops.h"
#include "node/flow_orchestrator.h"
#include "node/node_core.h"
#include "node/worker_service.h"

namespace sluice::v1 {
class ReadCountersResponse;
class RoleOffer;
}  // namespace sluice::v1

namespace sluice::node {

class RoleService;

class FlowService final {
 public:
  FlowService(NodeCore core, WorkerService& workers, RoleService& roles, link::DataLoops& loops,
              std::string data_directory);
  ~FlowService();

  void register_methods(rpc::DispatchTable& table);
  /// Starts a flow for somebody on this node who has no call: HTTP. It is listed and ended like any other; `client` must
  /// live until the orchestrator's `run` has returned, which the caller awaits through `on_end`.
  std::shared_ptr<FlowOrchestrator> run_for(FlowClient& client, const v1::RunStart& start, FlowId id,
                                            std::function<void()> on_end);
  void on_node_lost(const NodeId& node, const std::string& reason);
  /// Workers that were started by hand wait on `node`.
  void on_offered(const NodeId& node, const std::vector<v1::RoleOffer>& offers);

  /// Of the flows that this node orchestrates.
  net::Awaitable<v1::ReadCountersResponse> own_counters();
  /// How many flows run here.
  std::size_t running() const;
  /// Takes no new flows, and returns when those that run have ended, in the background too. `grace`: they are told to end,
  /// and killed after it; none: they end by themselves.
  net::Awaitable<void> drain(std::optional<Duration> grace);
  /// Ends what runs, and returns when it has ended. With `keep_background`, what can go on without a daemon does.
  net::Awaitable<void> close(bool keep_background);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
