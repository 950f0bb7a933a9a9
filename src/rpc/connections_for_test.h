#pragma once
// For tests: the two ends of a socket pair as connections, and what a node does before it serves one.
#include <sys/socket.h>

#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "net/connection.h"
#include "net/first_frame.h"

namespace sluice::rpc {

inline std::pair<UniqueFd, UniqueFd> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) std::terminate();
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

inline std::unique_ptr<net::Connection> connection_on(boost::asio::any_io_executor executor, UniqueFd socket,
                                                      net::Role role = net::Role::admin) {
  net::Connection::Parts parts;
  parts.socket = std::move(socket);
  parts.peer.role = role;
  parts.peer.name = "peer";
  parts.remote = "test";
  return std::make_unique<net::Connection>(std::move(executor), std::move(parts));
}

/// Reads the first frame and answers it, as the node does before it calls `serve`.
inline net::Awaitable<bool> answer_first_frame(std::shared_ptr<net::Connection> connection) {
  std::string received;
  std::byte buffer[4096];
  while (true) {
    auto size = co_await connection->read_some(buffer);
    if (!size) co_return false;
    received.append(reinterpret_cast<const char*>(buffer), *size);
    auto first = net::decode_first_frame(received);
    if (!first) co_return false;
    if (!*first) continue;
    connection->unread(std::as_bytes(std::span(received).subspan((*first)->taken)));
    std::string answer = net::encode(net::answer_to((*first)->frame));
    auto written = co_await connection->write(std::as_bytes(std::span(answer)));
    co_return written.has_value();
  }
}

}  // namespace sluice::rpc
