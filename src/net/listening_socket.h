#pragma once
// Sockets that listen, and sentences for people when they can't.
// Threading: pure functions; nothing here waits for a peer.
#include <expected>
#include <string>

#include "base/unique_fd.h"
#include "net/address.h"
#include "net/error.h"

namespace sluice::net {

std::expected<UniqueFd, NetError> listen_tcp(const Endpoint& at);
/// Mode 0600. A socket that nobody listens on any more is replaced, a living one is not.
std::expected<UniqueFd, NetError> listen_local(const std::string& path);

/// Where a TCP socket listens.
Endpoint bound_endpoint(int socket);

}  // namespace sluice::net
