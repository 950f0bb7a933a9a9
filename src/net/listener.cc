#include "net/listener.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/asio/co_spawn.hpp>
#include <cerrno>
#include <list>
#include <map>
#include <utility>

#include "base/require.h"
#include "net/alarm.h"
#include "net/handshake.h"
#include "net/listening_socket.h"
#include "net/local_peer.h"
#include "net/socket.h"
#include "net/socket_address.h"
#include "net/system_error.h"
#include "net/tcp_options.h"
#include "net/wakeup.h"

namespace sluice::net {
namespace {

constexpr std::chrono::milliseconds kPause{250};  // between two attempts to accept without descriptors
constexpr std::chrono::seconds kQuiet{5};         // without a failure, after which accepting counts as recovered
// An honest handshake needs a round trip and a millisecond. Only when places are wanted does one that has had this long
// lose its own; else silent strangers could keep everybody waiting for kHandshakeTime.
constexpr std::chrono::milliseconds kFairTime{500};
constexpr int kAcceptedInARow = 16;  // before the other tasks of the loop have their turn

// accept(2): what went wrong with one connection before we took it, and says nothing of the next.
bool is_of_one_connection(int error) {
  switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
      return true;
    default:
      return false;
  }
}

void spawn(const asio::any_io_executor& executor, Awaitable<void> task) {
  asio::co_spawn(executor, std::move(task), [](const std::exception_ptr& bug) { INVARIANT(!bug); });
}

struct Accepted {
  UniqueFd fd;
  SocketAddress from;
};

}  // namespace

struct Listener::Impl {
  struct Handshake {
    Socket socket;
    TimePoint began;
    std::string remote;
  };
  using Handshakes = std::list<Handshake>;
  struct File {
    std::string path;
    ino_t inode = 0;
  };

  Impl(asio::any_io_executor on, UniqueFd listening, OnConnection to, Logger& logger)
      : executor(on), socket(on, std::move(listening)), on_connection(std::move(to)), log(logger), room(on) {}

  static Awaitable<void> accept_all(std::shared_ptr<Impl> self);
  static Awaitable<void> shake_hands(std::shared_ptr<Impl> self, Handshakes::iterator handshake, TlsSession session);
  static void welcome(const std::shared_ptr<Impl>& self, Accepted accepted);
  std::expected<Accepted, int> accept();
  Awaitable<void> wait_for_room();
  void welcome_local(UniqueFd fd);
  void hand_over(Connection::Parts parts);
  const std::string& name_of(uid_t user);
  void on_refused(int error);
  void on_accepted();
  void close();
  std::string where() const { return file ? file->path : to_text(endpoint); }

  asio::any_io_executor executor;
  Socket socket;
  std::optional<File> file;  // of a Unix socket
  CurrentTls tls;
  OnConnection on_connection;
  Logger& log;  // may be gone once this is closed
  Endpoint endpoint;
  std::map<uid_t, std::string> names;
  Handshakes handshakes;  // the oldest first
  Wakeup room;            // a handshake has ended
  bool closed = false;
  std::optional<TimePoint> refused;  // when the kernel last refused to give us a connection, until we have recovered
};

Awaitable<void> Listener::Impl::accept_all(std::shared_ptr<Impl> self) {
  int in_a_row = 0;
  while (!self->closed) {
    if (self->handshakes.size() >= kHandshakesMax) {
      co_await self->wait_for_room();
      continue;
    }
    auto accepted = self->accept();
    if (accepted) {
      self->on_accepted();
      welcome(self, *std::move(accepted));
    } else if (accepted.error() != EAGAIN && !is_of_one_connection(accepted.error())) {
      self->on_refused(accepted.error());
      co_await self->wait_for_room();
    }
    bool none_left = !accepted && accepted.error() == EAGAIN;
    if (!none_left && ++in_a_row < kAcceptedInARow) continue;
    in_a_row = 0;
    auto ready = co_await self->socket.readable();  // at once if more are there
    if (!ready) co_return;
  }
}

std::expected<Accepted, int> Listener::Impl::accept() {
  Accepted accepted;
  accepted.fd =
      UniqueFd(::accept4(socket.fd(), accepted.from.get(), &accepted.from.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!accepted.fd) return std::unexpected(errno);
  return accepted;
}

// Until a handshake has ended, or it is worth another try.
Awaitable<void> Listener::Impl::wait_for_room() {
  TimePoint now = Clock::now();
  TimePoint until = now + kPause;
  if (!handshakes.empty()) {
    TimePoint fair = handshakes.front().began + kFairTime;
    if (fair <= now) handshakes.front().socket.close();
    if (fair > now) until = std::min(until, fair);
  }
  co_await room.wait_until(until);
}

void Listener::Impl::on_refused(int error) {
  if (!refused) log.warn("accepting paused", {{"at", where()}, {"reason", describe_errno(error)}});
  refused = Clock::now();
}

void Listener::Impl::on_accepted() {
  if (!refused || Clock::now() - *refused < kQuiet) return;
  refused.reset();
  log.info("accepting again", {{"at", where()}});
}

void Listener::Impl::welcome(const std::shared_ptr<Impl>& self, Accepted accepted) {
  if (self->file) return self->welcome_local(std::move(accepted.fd));
  set_no_delay(accepted.fd.get());
  set_keepalive(accepted.fd.get());
  std::string remote = to_text(endpoint_of(accepted.from));
  const TlsContext* context = self->tls ? self->tls() : nullptr;
  if (!context) return self->hand_over({.socket = std::move(accepted.fd), .remote = std::move(remote)});
  auto handshake = self->handshakes.emplace(self->handshakes.end(), Socket(self->executor, std::move(accepted.fd)),
                                            Clock::now(), std::move(remote));
  spawn(self->executor, shake_hands(self, handshake, context->server()));  // it may be another soon
}

void Listener::Impl::welcome_local(UniqueFd fd) {
  auto user = user_at(fd.get());
  if (!user) return log.debug("connection refused", {{"at", where()}, {"reason", user.error().message}});
  Peer peer{.proof = Peer::Proof::local_user, .role = Role::admin, .name = name_of(*user), .user = *user};
  hand_over({.socket = std::move(fd), .peer = std::move(peer), .remote = where()});
}

// The look-up reads a file; there are two users at most, ours and root.
const std::string& Listener::Impl::name_of(uid_t user) {
  auto [name, is_new] = names.try_emplace(user);
  if (is_new) name->second = user_name(user);
  return name->second;
}

void Listener::Impl::hand_over(Connection::Parts parts) {
  on_connection(std::make_unique<Connection>(executor, std::move(parts)));
}

Awaitable<void> Listener::Impl::shake_hands(std::shared_ptr<Impl> self, Handshakes::iterator handshake,
                                            TlsSession session) {
  Socket& socket = handshake->socket;
  Alarm alarm(self->executor, handshake->began + kHandshakeTime, [&socket] { socket.close(); });
  auto done = co_await net::shake_hands(socket, session);
  if (!done && !self->closed) {
    self->log.debug("handshake failed", {{"remote", handshake->remote}, {"reason", done.error().message}});
    if (done.error().kind != NetErrorKind::cut && done.error().kind != NetErrorKind::cancelled) co_await linger(socket);
  }
  Connection::Parts parts{.socket = socket.release(), .peer = session.peer(), .remote = std::move(handshake->remote)};
  self->handshakes.erase(handshake);
  self->room.wake();
  if (!done || self->closed) co_return;
  parts.tls = std::move(session);
  self->hand_over(std::move(parts));
}

void Listener::Impl::close() {
  if (closed) return;
  closed = true;
  socket.close();
  for (Handshake& handshake : handshakes) handshake.socket.close();
  room.wake();
  struct stat status {};
  if (file && ::lstat(file->path.c_str(), &status) == 0 && status.st_ino == file->inode) ::unlink(file->path.c_str());
}

std::expected<std::unique_ptr<Listener>, NetError> Listener::open_tcp(asio::any_io_executor executor,
                                                                      const Endpoint& at, CurrentTls tls,
                                                                      OnConnection on_connection, Logger& log) {
  auto listening = listen_tcp(at);
  if (!listening) return std::unexpected(listening.error());
  auto impl = std::make_shared<Impl>(executor, *std::move(listening), std::move(on_connection), log);
  impl->tls = std::move(tls);
  impl->endpoint = bound_endpoint(impl->socket.fd());
  spawn(executor, Impl::accept_all(impl));
  return std::unique_ptr<Listener>(new Listener(std::move(impl)));
}

std::expected<std::unique_ptr<Listener>, NetError> Listener::open_local(asio::any_io_executor executor,
                                                                        const std::string& path,
                                                                        OnConnection on_connection, Logger& log) {
  auto listening = listen_local(path);
  if (!listening) return std::unexpected(listening.error());
  struct stat status {};
  ::lstat(path.c_str(), &status);
  auto impl = std::make_shared<Impl>(executor, *std::move(listening), std::move(on_connection), log);
  impl->file = Impl::File{.path = path, .inode = status.st_ino};
  spawn(executor, Impl::accept_all(impl));
  return std::unique_ptr<Listener>(new Listener(std::move(impl)));
}

Listener::Listener(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Listener::~Listener() { close(); }
const Endpoint& Listener::endpoint() const { return impl_->endpoint; }
void Listener::close() { impl_->close(); }

}  // namespace sluice::net
