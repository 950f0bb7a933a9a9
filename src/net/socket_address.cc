#include "net/socket_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>

namespace sluice::net {
namespace {

std::string text_of(int family, const void* address) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(family, address, text, sizeof text);
  return text;
}

Endpoint endpoint_of_v6(const sockaddr_in6& v6) {
  Endpoint at{.port = ntohs(v6.sin6_port)};
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    at.address = text_of(AF_INET, v6.sin6_addr.s6_addr + 12);
    return at;
  }
  at.address = text_of(AF_INET6, &v6.sin6_addr);
  char interface[IF_NAMESIZE];
  if (v6.sin6_scope_id != 0 && ::if_indextoname(v6.sin6_scope_id, interface))
    at.address += fmt::format("%{}", interface);
  return at;
}

}  // namespace

std::optional<SocketAddress> numeric_address(const std::string& host, std::uint16_t port) {
  addrinfo hints{.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return std::nullopt;
  SocketAddress address{.size = found->ai_addrlen};
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  ::freeaddrinfo(found);
  return address;
}

std::expected<SocketAddress, NetError> local_address(const std::string& path) {
  sockaddr_un local{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.empty() || path.size() >= sizeof local.sun_path)
    return std::unexpected(NetError{
        NetErrorKind::limit, fmt::format("the path of the socket '{}' has {} bytes, and the kernel takes at most {}; "
                                         "choose a shorter data directory with --data",
                                         path, path.size(), sizeof local.sun_path - 1)});
  path.copy(local.sun_path, path.size());
  SocketAddress address{.size = sizeof local};
  std::memcpy(&address.storage, &local, sizeof local);
  return address;
}

Endpoint endpoint_of(const SocketAddress& address) {
  if (address.storage.ss_family == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &address.storage, sizeof v6);
    return endpoint_of_v6(v6);
  }
  if (address.storage.ss_family != AF_INET) return {};
  sockaddr_in v4;
  std::memcpy(&v4, &address.storage, sizeof v4);
  return {.address = text_of(AF_INET, &v4.sin_addr), .port = ntohs(v4.sin_port)};
}

}  // namespace sluice::net
