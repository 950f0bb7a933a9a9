#include "node/link_dialer.h"

#include <boost/asio/this_coro.hpp>

#include "net/first_frame.h"
#include "net/patience.h"

namespace sluice::node {
namespace {

using net::Awaitable;
using net::Connection;
using net::NetError;
using net::NetErrorKind;
using Refusal = std::unexpected<NetError>;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

Awaitable<std::expected<void, NetError>> claim_end(Connection& connection, std::string frame) {
  auto written = co_await connection.write(bytes_of(frame));
  if (!written) co_return Refusal(written.error());
  std::string received;
  std::byte buffer[net::kFirstHeaderSize + net::kFirstBodyMax];
  while (true) {
    auto got = co_await connection.read_some(buffer);
    if (!got) co_return Refusal(got.error());
    received.append(reinterpret_cast<const char*>(buffer), *got);
    auto answer = net::decode_first_answer(received);
    if (!answer) co_return Refusal(NetError{NetErrorKind::protocol, answer.error()});
    if (!*answer) continue;
    if ((*answer)->frame.status == net::FirstStatus::wrong_version)
      co_return Refusal(NetError{NetErrorKind::wrong_version, (*answer)->frame.message});
    if ((*answer)->frame.status != net::FirstStatus::accepted)
      co_return Refusal(NetError{NetErrorKind::refused, (*answer)->frame.message});
    // The other end may have begun to send already.
    connection.unread(bytes_of(std::string_view(received).substr((*answer)->taken)));
    co_return std::expected<void, NetError>();
  }
}

}  // namespace

Awaitable<std::expected<Connection::Parts, NetError>> dial_link(LinkAddress to, link::LinkClaim claim,
                                                                const net::TlsContext* tls, TimePoint deadline) {
  net::DialOptions options{.deadline = deadline, .tls = tls, .expected = to.node};
  // No conditional expression: g++ 12 makes one whose branches both suspend wrongly.
  std::expected<std::unique_ptr<Connection>, NetError> connection = Refusal(NetError{});
  if (to.socket.empty())
    connection = co_await net::dial(to.at, std::move(options));
  else
    connection = co_await net::dial_local(to.socket, deadline);
  if (!connection) co_return Refusal(connection.error());
  Connection& established = **connection;
  net::FirstFrame frame{.use = net::Use::bytes, .body = link::encode(claim)};
  std::string bytes = net::encode(frame);
  {
    net::Patience patience(co_await net::asio::this_coro::executor, established, deadline);
    auto claimed = co_await claim_end(established, bytes);
    if (patience.ended()) co_return Refusal(NetError{NetErrorKind::timed_out, "no answer to the link's claim"});
    if (!claimed) co_return Refusal(claimed.error());
  }
  co_return established.release();
}

}  // namespace sluice::node
