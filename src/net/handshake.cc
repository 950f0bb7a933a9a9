#include "net/handshake.h"

#include <sys/socket.h>

#include <vector>

#include "net/alarm.h"
#include "net/system_error.h"

namespace sluice::net {
namespace {

constexpr std::chrono::seconds kLingerTime{1};
constexpr std::size_t kLingerBytes = std::size_t{64} << 10;

// Everything: a peer that takes nothing while it shakes hands is as slow as one that sends nothing.
Awaitable<std::expected<void, NetError>> send_all(Socket& socket, TlsSession& session) {
  while (true) {
    auto sent = send_cipher(socket, session);
    if (!sent) co_return std::unexpected(cut_by_errno(sent.error()));
    if (session.cipher().empty()) co_return std::expected<void, NetError>{};
    auto ready = co_await socket.writable();
    if (!ready) co_return ready;
  }
}

}  // namespace

std::expected<void, int> send_cipher(Socket& socket, TlsSession& session) {
  while (!session.cipher().empty()) {
    auto sent = socket.send(session.cipher());
    if (!sent) return std::unexpected(sent.error());
    if (!*sent) break;
    session.consume_cipher(**sent);
  }
  return {};
}

std::expected<bool, NetError> receive_cipher(Socket& socket, TlsSession& session) {
  auto got = socket.receive(session.cipher_room());
  auto taken = session.on_cipher_in_room(got ? got->value_or(0) : 0);
  if (!got) return std::unexpected(cut_by_errno(got.error()));
  if (!*got) return false;
  if (**got == 0)
    return std::unexpected(NetError{NetErrorKind::cut, "the other side closed the connection without a word"});
  if (!taken) return std::unexpected(taken.error());
  return true;
}

Awaitable<std::expected<void, NetError>> shake_hands(Socket& socket, TlsSession& session) {
  auto result = session.start();
  while (result) {
    result = co_await send_all(socket, session);
    if (!result || session.handshaken()) co_return result;
    auto received = receive_cipher(socket, session);
    if (!received) {
      result = std::unexpected(received.error());
    } else if (!*received) {
      result = co_await socket.readable();
    }
  }
  static_cast<void>(send_cipher(socket, session));
  co_return result;
}

Awaitable<void> linger(Socket& socket) {
  ::shutdown(socket.fd(), SHUT_WR);
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  Alarm alarm(executor, Clock::now() + kLingerTime, [&socket] { socket.close(); });
  std::vector<std::byte> dropped(4096);
  for (std::size_t total = 0; total < kLingerBytes;) {
    auto got = socket.receive(dropped);
    if (!got || *got == 0u) co_return;
    total += got->value_or(0);
    if (*got) continue;
    auto ready = co_await socket.readable();
    if (!ready) co_return;
  }
}

}  // namespace sluice::net
