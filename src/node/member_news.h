#pragma once
// What follows from the news of membership: a line in the log, and word to the parts of the node that rely on others.
// Threading: belongs to the control loop.
#include <functional>
#include <string>

#include "base/log.h"
#include "cluster/membership_event.h"
#include "node/cluster_service.h"

namespace sluice::node {

class MemberNews final {
 public:
  struct Handlers {
    std::function<void(MemberChange change, const cluster::Member& member)> on_change;
    /// It is lost: connections to it lead nowhere.
    std::function<void(const NodeId& node)> on_lost;
    /// It has left, or is lost: what needs it here can't go on. `reason` is for the user.
    std::function<void(const NodeId& node, const std::string& reason)> on_gone;
    std::function<void(const NodeId& node)> on_shared_state_differs;
    /// We are the copy of another node at this address, and must end.
    std::function<void(const net::Endpoint& other)> on_own_copy;
  };
  MemberNews(NodeId self, net::Endpoint advertised, Handlers handlers, Logger& log)
      : self_(self), advertised_(std::move(advertised)), handlers_(std::move(handlers)), log_(log) {}

  void tell(const cluster::MembershipEvent& event);

 private:
  void on(const cluster::MemberJoined& event);
  void on(const cluster::MemberChanged& event);
  void on(const cluster::MemberSuspected& event);
  void on(const cluster::MemberLost& event);
  void on(const cluster::MemberLeft& event);
  void on(const cluster::IdConflict& event);
  void on(const cluster::NameConflict& event);
  void on(const cluster::SharedStateDiffers& event);
  void on(const cluster::AdvertisedInVain& event);
  void on(const cluster::Paused& event);

  NodeId self_;
  net::Endpoint advertised_;
  Handlers handlers_;
  Logger& log_;
};

}  // namespace sluice::node
