#include "net/listening_socket.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>

#include "net/socket_address.h"
#include "net/system_error.h"

namespace sluice::net {
namespace {

constexpr int kBacklog = SOMAXCONN;  // connections that wait in the kernel while accepting pauses
constexpr int kSocketFlags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

std::unexpected<NetError> failed(NetErrorKind kind, std::string message) {
  return std::unexpected(NetError{kind, std::move(message)});
}

std::unexpected<NetError> cannot_listen(const Endpoint& at, int error) {
  std::string text = to_text(at);
  NetErrorKind kind = error_of_errno(error).kind;
  switch (error) {
    case EADDRINUSE:
      return failed(kind, fmt::format("cannot listen on {}: the port is in use; is another node running? Port 0 takes "
                                      "a free one",
                                      text));
    case EADDRNOTAVAIL:
      return failed(kind, fmt::format("cannot listen on {}: no interface of this host has the address {}; `ip address` "
                                      "lists those that it has, and 0.0.0.0 means all",
                                      text, at.address));
    case EACCES:
    case EPERM:
      return failed(kind, fmt::format("cannot listen on {}: {}; ports below 1024 are for root, choose a higher one",
                                      text, describe_errno(error)));
    default:
      return failed(kind, fmt::format("cannot listen on {}: {}", text, describe_errno(error)));
  }
}

void set(int socket, int level, int option, int value) { ::setsockopt(socket, level, option, &value, sizeof value); }

std::unexpected<NetError> cannot_listen(const std::string& path, int error) {
  return failed(error_of_errno(error).kind,
                fmt::format("cannot listen on the socket {}: {}", path, describe_errno(error)));
}

// What lies there belongs to a node that ended without tidying up, or to one that runs.
std::expected<void, NetError> remove_stale(const std::string& path, const SocketAddress& address) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
    return failed(NetErrorKind::system,
                  fmt::format("cannot listen on the socket {}: there is a file of that name, which "
                              "is no socket; move it away, or choose another --data",
                              path));
  UniqueFd probe(::socket(AF_UNIX, kSocketFlags, 0));
  if (!probe) return cannot_listen(path, errno);
  if (::connect(probe.get(), address.get(), address.size) == 0 || errno == EAGAIN)
    return failed(NetErrorKind::system, fmt::format("cannot listen on the socket {}: another node is running there; "
                                                    "choose another --data for a second one",
                                                    path));
  if (errno != ECONNREFUSED && errno != ENOENT) return cannot_listen(path, errno);
  ::unlink(path.c_str());
  return {};
}

}  // namespace

std::expected<UniqueFd, NetError> listen_tcp(const Endpoint& at) {
  auto address = numeric_address(at.address, at.port);
  if (!address)
    return failed(NetErrorKind::system, fmt::format("cannot listen on {}: '{}' is no IP address; expected one of this "
                                                    "host, or 0.0.0.0 for all",
                                                    to_text(at), at.address));
  UniqueFd socket(::socket(address->storage.ss_family, kSocketFlags, 0));
  if (!socket) return cannot_listen(at, errno);
  set(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (address->storage.ss_family == AF_INET6) set(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);  // `::` is all, IPv4 too
  if (::bind(socket.get(), address->get(), address->size) != 0) return cannot_listen(at, errno);
  if (::listen(socket.get(), kBacklog) != 0) return cannot_listen(at, errno);
  return socket;
}

std::expected<UniqueFd, NetError> listen_local(const std::string& path) {
  auto address = local_address(path);
  if (!address) return std::unexpected(address.error());
  UniqueFd socket(::socket(AF_UNIX, kSocketFlags, 0));
  if (!socket) return cannot_listen(path, errno);
  ::fchmod(socket.get(), S_IRUSR | S_IWUSR);  // bind(2) makes the file with this mode, so nobody can be faster
  if (::bind(socket.get(), address->get(), address->size) != 0) {
    if (errno != EADDRINUSE) return cannot_listen(path, errno);
    auto removed = remove_stale(path, *address);
    if (!removed) return std::unexpected(removed.error());
    if (::bind(socket.get(), address->get(), address->size) != 0) return cannot_listen(path, errno);
  }
  if (::listen(socket.get(), kBacklog) != 0) return cannot_listen(path, errno);
  return socket;
}

Endpoint bound_endpoint(int socket) {
  SocketAddress address;
  ::getsockname(socket, address.get(), &address.size);
  return endpoint_of(address);
}

}  // namespace sluice::net
