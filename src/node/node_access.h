#pragma once
// A client's way to its node: calls, and more connections to it for links.
// Threading: one loop.
#include <expected>

#include "base/time.h"
#include "link/link_claim.h"
#include "net/async.h"
#include "net/connection.h"
#include "rpc/channel.h"

namespace sluice::node {

class NodeAccess {
 public:
  virtual ~NodeAccess() = default;
  virtual rpc::Channel& channel() = 0;
  virtual net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial_link(link::LinkClaim claim,
                                                                                         TimePoint deadline) = 0;
};

}  // namespace sluice::node
