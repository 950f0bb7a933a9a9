#pragma once
// An orchestrator's lines to the parts of flows on other nodes: the client's side of Workers/Host.
//
// A line to a part that outlives its orchestrator is made again when it breaks; the part then says anew what has become of it.
// Threading: belongs to the control loop. A session and its listener may go before its line has ended.
#include <memory>

#include "base/id.h"
#include "net/async.h"
#include "node/flow_surroundings.h"
#include "node/node_core.h"

namespace sluice::node {

class RemoteLines final {
 public:
  explicit RemoteLines(NodeCore core);
  ~RemoteLines();

  std::unique_ptr<HostSession> open(const NodeId& node, std::size_t part, HostListener& listener);
  /// To a part that runs already, started by an earlier daemon of this node. It is tried for a while: the other node may
  /// not be known yet.
  std::unique_ptr<HostSession> resume(const NodeId& node, const FlowId& flow, std::size_t part, HostListener& listener);
  /// Every session is closed, or let go. Returns when no line is left; nodes that don't answer are not waited for long.
  net::Awaitable<void> close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
