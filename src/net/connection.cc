#include "net/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <utility>

#include "base/require.h"
#include "net/handshake.h"
#include "net/silence_watch.h"
#include "net/socket.h"
#include "net/system_error.h"

namespace sluice::net {
namespace {

// Transfers in a row that needed no waiting, after which the other tasks of the loop have their turn.
constexpr int kTurn = 64;

bool has_keepalive(int socket) {
  int on = 0;
  socklen_t size = sizeof on;
  return ::getsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, &size) == 0 && on != 0;
}

/// Counts transfers that needed no waiting.
class Turns final {
 public:
  void begin() { taken_ = 0; }
  bool is_over() {
    if (++taken_ < kTurn) return false;
    begin();
    return true;
  }

 private:
  int taken_ = 0;
};

Awaitable<void> let_others_run() { co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable); }

/// Says that an operation is under way.
class Under final {
 public:
  explicit Under(bool& flag) : flag_(flag) { flag_ = true; }
  ~Under() { flag_ = false; }
  Under(const Under&) = delete;
  Under& operator=(const Under&) = delete;

 private:
  bool& flag_;
};

}  // namespace

struct Connection::Impl {
  Impl(asio::any_io_executor executor, Parts parts);

  static Awaitable<std::expected<std::size_t, NetError>> read_some(std::shared_ptr<Impl> self,
                                                                   std::span<std::byte> into);
  static Awaitable<std::expected<void, NetError>> write(std::shared_ptr<Impl> self, std::span<const std::byte> bytes);

  std::expected<std::optional<std::size_t>, NetError> try_read(std::span<std::byte> into);
  std::expected<std::optional<std::size_t>, NetError> try_read_plain(std::span<std::byte> into);
  std::expected<std::optional<std::size_t>, NetError> try_read_tls(std::span<std::byte> into);
  std::size_t read_unread(std::span<std::byte> into);
  std::expected<bool, NetError> try_write(std::span<const std::byte>& bytes);
  bool something_to_send() const { return tls && !tls->cipher().empty(); }
  void end_with(NetError why);

  Socket socket;
  std::optional<TlsSession> tls;
  std::vector<std::byte> unread;
  Peer peer;
  std::string remote;
  bool reading = false;
  bool writing = false;
  Turns read_turns;
  Turns write_turns;
  std::optional<NetError> end;  // it is closed: what every operation answers
  std::optional<SilenceWatch> watch;
};

Connection::Impl::Impl(asio::any_io_executor executor, Parts parts)
    : socket(executor, std::move(parts.socket)),
      tls(std::move(parts.tls)),
      unread(std::move(parts.unread)),
      peer(std::move(parts.peer)),
      remote(std::move(parts.remote)) {
  REQUIRE(!tls || tls->handshaken());
  if (tls && peer.proof == Peer::Proof::none) peer = tls->peer();
  if (!has_keepalive(socket.fd())) return;
  Keepalive keepalive = tls && tls->alpn() == kAlpnSluice ? Keepalive::of_both : Keepalive::ours;
  watch.emplace(std::move(executor), socket.fd(), keepalive, [this] {
    end_with({NetErrorKind::cut, "the connection broke: the peer does not answer any more"});
  });
}

void Connection::Impl::end_with(NetError why) {
  if (end) return;
  end = std::move(why);
  watch.reset();
  socket.close();
}

Awaitable<std::expected<std::size_t, NetError>> Connection::Impl::read_some(std::shared_ptr<Impl> self,
                                                                            std::span<std::byte> into) {
  REQUIRE(!into.empty());
  REQUIRE(!self->reading);
  Under under(self->reading);
  while (!self->end) {
    auto got = self->try_read(into);
    if (!got) co_return std::unexpected(got.error());
    if (*got) {
      if (self->read_turns.is_over()) co_await let_others_run();
      co_return **got;
    }
    self->read_turns.begin();
    auto ready = co_await self->socket.readable();
    if (!ready && !self->end) co_return std::unexpected(ready.error());
  }
  co_return std::unexpected(*self->end);
}

Awaitable<std::expected<void, NetError>> Connection::Impl::write(std::shared_ptr<Impl> self,
                                                                 std::span<const std::byte> bytes) {
  REQUIRE(!self->writing);
  Under under(self->writing);
  while (!self->end) {
    if (bytes.empty() && !self->something_to_send()) co_return std::expected<void, NetError>{};
    auto moved = self->try_write(bytes);
    if (!moved) co_return std::unexpected(moved.error());
    if (*moved) {
      if (self->write_turns.is_over()) co_await let_others_run();
      continue;
    }
    self->write_turns.begin();
    auto ready = co_await self->socket.writable();
    if (!ready && !self->end) co_return ready;
  }
  co_return std::unexpected(*self->end);
}

std::expected<std::optional<std::size_t>, NetError> Connection::Impl::try_read(std::span<std::byte> into) {
  if (!unread.empty()) return read_unread(into);
  return tls ? try_read_tls(into) : try_read_plain(into);
}

std::size_t Connection::Impl::read_unread(std::span<std::byte> into) {
  std::size_t size = std::min(into.size(), unread.size());
  std::copy_n(unread.begin(), size, into.begin());
  unread.erase(unread.begin(), unread.begin() + static_cast<std::ptrdiff_t>(size));
  if (unread.empty()) unread.shrink_to_fit();
  return size;
}

std::expected<std::optional<std::size_t>, NetError> Connection::Impl::try_read_plain(std::span<std::byte> into) {
  auto got = socket.receive(into);
  if (!got) return std::unexpected(cut_by_errno(got.error()));
  if (*got == 0u) return std::unexpected(NetError{NetErrorKind::closed, "the peer ended the connection"});
  return *got;
}

std::expected<std::optional<std::size_t>, NetError> Connection::Impl::try_read_tls(std::span<std::byte> into) {
  for (int turn = 0; turn < kTurn; ++turn) {  // a peer may send records without a byte for us for ever
    auto got = tls->read(into);
    // What reading makes us say (an alert). A write that is under way sends it with its own bytes.
    if (!writing && something_to_send()) static_cast<void>(send_cipher(socket, *tls));
    if (!got) return std::unexpected(got.error());
    if (*got > 0) return *got;
    auto received = receive_cipher(socket, *tls);
    if (!received) return std::unexpected(received.error());
    if (!*received) return std::nullopt;
  }
  return std::nullopt;
}

// One attempt; takes from the front of `bytes` what it has seen to. False: the socket takes nothing now.
std::expected<bool, NetError> Connection::Impl::try_write(std::span<const std::byte>& bytes) {
  if (tls && !something_to_send()) {
    auto batch = bytes.first(std::min(bytes.size(), kTlsBatch));
    auto encrypted = tls->write(batch);
    if (!encrypted) return std::unexpected(encrypted.error());
    bytes = bytes.subspan(batch.size());
  }
  auto sent = socket.send(tls ? tls->cipher() : bytes);
  if (!sent) return std::unexpected(cut_by_errno(sent.error()));
  if (!*sent) return false;
  tls ? tls->consume_cipher(**sent) : static_cast<void>(bytes = bytes.subspan(**sent));
  if (watch) watch->on_sent();
  return true;
}

Connection::Connection(asio::any_io_executor executor, Parts parts)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(parts))) {}

Connection::~Connection() { close(); }

const Peer& Connection::peer() const { return impl_->peer; }

void Connection::believe(Role role) {
  REQUIRE(impl_->peer.proof == Peer::Proof::none);
  impl_->peer.role = role;
}

const std::string& Connection::remote() const { return impl_->remote; }
bool Connection::encrypted() const { return impl_->tls.has_value(); }
std::string_view Connection::alpn() const { return impl_->tls ? impl_->tls->alpn() : std::string_view{}; }

Awaitable<std::expected<std::size_t, NetError>> Connection::read_some(std::span<std::byte> into) {
  return Impl::read_some(impl_, into);
}

Awaitable<std::expected<void, NetError>> Connection::write(std::span<const std::byte> bytes) {
  return Impl::write(impl_, bytes);
}

void Connection::unread(std::span<const std::byte> bytes) {
  impl_->unread.insert(impl_->unread.begin(), bytes.begin(), bytes.end());
}

void Connection::close() {
  if (impl_->end) return;
  if (impl_->tls) {
    impl_->tls->close();
    static_cast<void>(send_cipher(impl_->socket, *impl_->tls));
  }
  impl_->end_with({NetErrorKind::cancelled, "we ended the connection"});
}

Connection::Parts Connection::release() {
  REQUIRE(!impl_->reading);
  REQUIRE(!impl_->writing);
  REQUIRE(!impl_->end);
  impl_->watch.reset();
  impl_->end = NetError{NetErrorKind::cancelled, "we gave the connection away"};
  return {.socket = impl_->socket.release(),
          .tls = std::exchange(impl_->tls, std::nullopt),
          .unread = std::move(impl_->unread),
          .peer = impl_->peer,
          .remote = impl_->remote};
}

}  // namespace sluice::net
