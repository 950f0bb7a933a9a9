#pragma once
// The methods of sluice.v1.Cluster: the nodes as this one knows them, the feed of what happens to them, and leaving.
// Threading: belongs to the control loop.
#include <functional>
#include <memory>

#include "node/node_core.h"

namespace sluice::node {

enum class MemberChange { joined, changed, suspected, left, lost };

class ClusterService final {
 public:
  using OnLeave = std::function<void(std::uint64_t grace_ms, bool wait)>;

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
