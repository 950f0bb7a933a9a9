#pragma once
// The I/O shell of discovery: a multicast socket for each interface that the node listens on, the seal, and timers. It holds
// no decision; see discovery.h. What it finds it gives to membership.
// Threading: belongs to the control loop.
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "cluster/boot_number.h"
#include "cluster/cluster_key.h"
#include "cluster/member.h"
#include "cluster/membership_service.h"
#include "cluster/multicast_socket.h"
#include "net/async.h"

namespace sluice::cluster {

class DiscoveryService final {
 public:
  struct Options {
    NodeId self;
    Profile profile;
    BootNumber boot;
    std::vector<GossipSecret> gossip_secrets;
    net::Endpoint group;
    std::vector<MulticastInterface> interfaces;  // not empty
  };
  /// Joins the group on each interface, and announces the node when the loop runs. `membership` outlives the service.
  /// Errors: a sentence.
  static std::expected<std::unique_ptr<DiscoveryService>, std::string> open(net::asio::any_io_executor executor,
                                                                            Options options,
                                                                            MembershipService& membership, Logger& log);
  ~DiscoveryService();
  DiscoveryService(const DiscoveryService&) = delete;
  DiscoveryService& operator=(const DiscoveryService&) = delete;

  void replace_secrets(const std::vector<GossipSecret>& gossip_secrets);
  /// Says and hears nothing from now on.
  net::Awaitable<void> close();

 private:
  struct Impl;
  explicit DiscoveryService(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::cluster
