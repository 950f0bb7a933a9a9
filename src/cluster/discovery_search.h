#pragma once
// How a program that is no node finds one: it asks on a multicast group, on every interface of the host, and hears who
// answers. It needs the gossip secret, and so the cluster key or a node's certificate file.
// Threading: belongs to the loop of its executor; one `next` at a time.
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "cluster/cluster_key.h"
#include "cluster/member.h"
#include "net/async.h"

namespace sluice::cluster {

struct FoundNode {
  NodeId id;
  Profile profile;  // without labels
};

class DiscoverySearch final {
 public:
  /// Errors: a sentence; no interface can do multicast, or there is no socket.
  static std::expected<std::unique_ptr<DiscoverySearch>, std::string> open(
      net::asio::any_io_executor executor, net::Endpoint group, const std::vector<GossipSecret>& gossip_secrets);
  ~DiscoverySearch();
  DiscoverySearch(const DiscoverySearch&) = delete;
  DiscoverySearch& operator=(const DiscoverySearch&) = delete;

  /// The next node that answers, each once; it asks again meanwhile. Nothing: the deadline has passed.
  net::Awaitable<std::optional<FoundNode>> next(TimePoint deadline);
  /// Gives that node again if it answers again: it was not reached, and another try may do.
  void forget(const NodeId& id);

 private:
  struct Impl;
  explicit DiscoverySearch(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::cluster
