#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "net/alarm.h"
#include "net/connection.h"
#include "net/handshake.h"
#include "net/local_peer.h"
#include "net/resolver.h"
#include "net/socket.h"
#include "net/system_error.h"
#include "net/tcp_options.h"
#include "net/wakeup.h"

namespace sluice::net {
namespace {

using Dialled = std::expected<std::unique_ptr<Connection>, NetError>;

constexpr std::chrono::milliseconds kCrowded{10};

NetError no_answer() { return {NetErrorKind::timed_out, "no answer in time"}; }

std::expected<UniqueFd, NetError> make_socket(int family) {
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return std::unexpected(error_of_errno(errno));
  return fd;
}

Awaitable<std::expected<void, NetError>> connect(Socket& socket, const SocketAddress& to) {
  if (::connect(socket.fd(), to.get(), to.size) == 0) co_return std::expected<void, NetError>{};
  if (errno != EINPROGRESS && errno != EINTR) co_return std::unexpected(error_of_errno(errno));
  auto ready = co_await socket.writable();
  if (!ready) co_return ready;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) co_return std::unexpected(error_of_errno(error));
  co_return std::expected<void, NetError>{};
}

// What ends with the alarm was cancelled for want of time.
NetError with_deadline(NetError error, const Alarm& alarm) {
  return alarm.rang() && error.kind == NetErrorKind::cancelled ? no_answer() : std::move(error);
}

Awaitable<std::expected<Socket, NetError>> connect_before(SocketAddress to, TimePoint deadline) {
  auto fd = make_socket(to.storage.ss_family);
  if (!fd) co_return std::unexpected(fd.error());
  set_no_delay(fd->get());
  set_keepalive(fd->get());
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  Socket socket(executor, *std::move(fd));
  Alarm alarm(executor, deadline, [&socket] { socket.cancel(); });
  auto connected = co_await connect(socket, to);
  if (!connected) co_return std::unexpected(with_deadline(connected.error(), alarm));
  co_return socket;
}

// Each address has its share of the time that is left, so that one that swallows our packets leaves some for the next.
Awaitable<std::expected<Socket, NetError>> connect_to_any(std::vector<SocketAddress> addresses, DialOptions options) {
  NetError error = no_answer();
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    TimePoint now = Clock::now();
    if (now >= options.deadline) break;
    TimePoint share = now + (options.deadline - now) / static_cast<int>(addresses.size() - i);
    auto socket = co_await connect_before(addresses[i], share);
    if (socket) co_return socket;
    error = socket.error();
  }
  co_return std::unexpected(std::move(error));
}

std::expected<void, NetError> check_node(const Peer& peer, const std::optional<NodeId>& expected) {
  if (!expected || peer.node == expected) return {};
  return std::unexpected(
      NetError{NetErrorKind::wrong_node, fmt::format("the node {} answers there, with the id {} and not {}", peer.name,
                                                     peer.node.value_or(NodeId{}).text(), expected->text())});
}

Awaitable<std::expected<TlsSession, NetError>> secure(Socket& socket, const DialOptions& options) {
  TlsSession session = options.tls->client();
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  Alarm alarm(executor, options.deadline, [&socket] { socket.cancel(); });
  auto done = co_await shake_hands(socket, session);
  if (done) done = check_node(session.peer(), options.expected);
  if (!done) co_return std::unexpected(with_deadline(done.error(), alarm));
  co_return session;
}

}  // namespace

Awaitable<Dialled> dial(HostPort to, DialOptions options) {
  std::string remote = to_text(to);
  auto addresses = co_await resolve(std::move(to), options.deadline);
  if (!addresses) co_return std::unexpected(addresses.error());
  auto socket = co_await connect_to_any(*std::move(addresses), options);
  if (!socket) co_return std::unexpected(socket.error());
  Connection::Parts parts{.remote = std::move(remote)};
  if (options.tls) {
    auto session = co_await secure(*socket, options);
    if (!session) co_return std::unexpected(session.error());
    parts.peer = session->peer();
    parts.tls = *std::move(session);
  }
  parts.socket = socket->release();
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  co_return std::make_unique<Connection>(executor, std::move(parts));
}

Awaitable<Dialled> dial_local(std::string path, TimePoint deadline) {
  auto address = local_address(path);
  if (!address) co_return std::unexpected(address.error());
  auto fd = make_socket(AF_UNIX);
  if (!fd) co_return std::unexpected(fd.error());
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  Wakeup nobody(executor);
  // A Unix socket answers at once; with a full queue it says EAGAIN, and there is nothing to wait for but time.
  while (::connect(fd->get(), address->get(), address->size) != 0) {
    if (errno == ENOENT) co_return std::unexpected(NetError{NetErrorKind::refused, "there is no socket"});
    if (errno != EAGAIN) co_return std::unexpected(error_of_errno(errno));
    if (Clock::now() >= deadline) co_return std::unexpected(no_answer());
    co_await nobody.wait_until(std::min(deadline, Clock::now() + kCrowded));
  }
  auto user = user_at(fd->get());
  if (!user) co_return std::unexpected(user.error());
  Peer peer{.proof = Peer::Proof::local_user, .role = Role::node, .user = *user};
  Connection::Parts parts{.socket = *std::move(fd), .peer = std::move(peer), .remote = std::move(path)};
  co_return std::make_unique<Connection>(executor, std::move(parts));
}

}  // namespace sluice::net
