#pragma once
// Runs parts of flows on this node for orchestrators, this node's own among them.
// Threading: belongs to the control loop.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "flow/placement.h"
#include "node/flow_orchestrator.h"
#include "node/node_core.h"
#include "node/part_host.h"
#include "node/served_parts.h"

namespace sluice::node {

class WorkerService final {
 public:
  WorkerService(NodeCore core, PartSurroundings& surroundings);
  ~WorkerService();

  void register_methods(rpc::DispatchTable& table);

  /// A line to a part on this node.
  std::unique_ptr<HostSession> open_local(std::size_t part, HostListener& listener);
  /// A line to a part on another node.
  std::unique_ptr<HostSession> open_remote(const NodeId& node, std::size_t part, HostListener& listener);

  /// A line to a part that runs already, started by an earlier daemon of this node. It is tried for a while: the other node
  /// may not be known yet.
  std::unique_ptr<HostSession> resume_remote(const NodeId& node, const FlowId& flow, std::size_t part,
                                             HostListener& listener);

  /// The parts that run here for orchestrators on other nodes.
  ServedParts& served();

  /// Fills in how many cores of each node are free.
  net::Awaitable<void> ask_free_cores(std::vector<flow::NodeChoice>& nodes);

  /// Removes a folder in which stages of a flow that has ended worked.
  void remove_folder(const std::string& folder);

  /// Takes no new parts for other nodes, and returns when those that run for them have ended. `grace`: they are told to
  /// end, and nobody waits longer than that for them; none: they end by themselves.
  net::Awaitable<void> drain(std::optional<Duration> grace);
  /// Ends what runs, and returns when nothing is left.
  net::Awaitable<void> close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
