#pragma once
// Finds the addresses of a host. A name is looked up on a thread of Asio's, since the C library waits for an answer.
#include <expected>
#include <vector>

#include "base/time.h"
#include "net/address.h"
#include "net/async.h"
#include "net/socket_address.h"

namespace sluice::net {

/// In the order in which they should be tried, never empty; no host is this host. Errors: unreachable, timed_out. A look-up
/// that takes too long goes on without us.
Awaitable<std::expected<std::vector<SocketAddress>, NetError>> resolve(HostPort host, TimePoint deadline);

}  // namespace sluice::net
