#pragma once
// Workers that were started by hand, as their node sees them: each waits in a call until a flow wants one of its role, and
// then the bytes of one seat (docs/protocol-seats.md) pass through that call.
//
// Who waits is told to the other nodes at once, and now and then again: the orchestrator of a flow may be any of them.
// Threading: belongs to the control loop.
#include <functional>
#include <memory>
#include <vector>

#include "node/node_core.h"
#include "rpc/dispatch.h"

namespace sluice::v1 {
class RoleOffer;
}

namespace sluice::node {

class RoleOffers;

class RoleService final {
 public:
  /// Workers that wait on a node, which may be this one.
  using OnOffered = std::function<void(const NodeId& node, std::vector<v1::RoleOffer> offers)>;

  RoleService(NodeCore core, RoleOffers& offers);
  ~RoleService();

  void register_methods(rpc::DispatchTable& table);
  void set_on_offered(OnOffered on_offered);

  /// Asks every node, each for a second at most, who waits there; on_offered is called for what they answer.
  void ask();

  /// Every call ends. Returns when none is left.
  net::Awaitable<void> close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
