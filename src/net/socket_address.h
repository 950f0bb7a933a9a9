#pragma once
// Addresses as the kernel wants them.
// Threading: pure values and functions; nothing is looked up.
#include <sys/socket.h>

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "net/address.h"
#include "net/error.h"

namespace sluice::net {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

/// Of an IP address; nothing if `host` is a name.
std::optional<SocketAddress> numeric_address(const std::string& host, std::uint16_t port);
/// Of a Unix socket. Errors: the path is longer than the kernel's 107 bytes.
std::expected<SocketAddress, NetError> local_address(const std::string& path);
/// An IPv4 address that IPv6 wraps is given as IPv4.
Endpoint endpoint_of(const SocketAddress& address);

}  // namespace sluice::net
