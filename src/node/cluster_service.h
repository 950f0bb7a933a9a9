#pragma once
// The methods of sluice.v1.Cluster: the nodes as this one knows them, the feed of what happens to them, and leaving.
// Threading: belongs to the control loop.
#include <functional>
#include <memory>
#include <optional>

#include "node/node_core.h"

namespace sluice::node {

enum class MemberChange { joined, changed, suspected, left, lost };

class ClusterService final {
 public:
  /// Returns when nothing runs on this node any more; it leaves then. `grace`: what runs is told to end; none: awaited.
  using OnLeave = std::function<net::Awaitable<void>(std::optional<Duration> grace)>;

  ClusterService(NodeCore core, OnLeave on_leave);
  ~ClusterService();

  void register_methods(rpc::DispatchTable& table);
  /// Tells every watch, in the order of the calls.
  void on_change(MemberChange change, const cluster::Member& member, cluster::LossReason reason);
  void close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
