#pragma once
// Finds the addresses of a host.
//
// The C library's look-up of a name waits for an answer and can't be interrupted (getaddrinfo(3)). So each has a thread of
// its own, which nobody waits for when the answer is not wanted any more: a name server that does not answer delays
// neither the look-ups of other names nor the end of the process.
// Threading: belongs to the loop of its executor.
#include <expected>
#include <memory>
#include <vector>

#include "base/time.h"
#include "net/address.h"
#include "net/async.h"
#include "net/socket_address.h"

namespace sluice::net {

/// Threads of look-ups that may be under way in this process, given up or not; further ones fail at once.
inline constexpr int kLookUpsMax = 64;

/// In the order in which they should be tried, never empty.
using Addresses = std::expected<std::vector<SocketAddress>, NetError>;

class LookUp final {
 public:
  /// No host is this host.
  LookUp(asio::any_io_executor executor, HostPort host);
  ~LookUp();
  LookUp(const LookUp&) = delete;
  LookUp& operator=(const LookUp&) = delete;

  /// Errors: unreachable, timed_out, cancelled. Called once.
  Awaitable<Addresses> wait_until(TimePoint deadline);
  void cancel();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Errors: unreachable, timed_out.
Awaitable<Addresses> resolve(HostPort host, TimePoint deadline);

}  // namespace sluice::net
