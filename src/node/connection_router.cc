#include "node/connection_router.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <list>
#include <map>
#include <set>

#include "base/require.h"
#include "net/first_frame.h"
#include "net/patience.h"
#include "node/task_group.h"
#include "rpc/server.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;
using net::Connection;

namespace {

constexpr std::chrono::seconds kFirstFrameTime{5};  // as the handshake

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// A peer that speaks HTTP begins with a method's name, ours with the magic.
bool looks_like_http(std::string_view bytes) { return !bytes.empty() && bytes[0] != net::kMagic[0]; }

}  // namespace

struct ConnectionRouter::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::any_io_executor executor, Handlers to, Logger& to_log)
      : handlers(std::move(to)), log(to_log), tasks(std::move(executor), to_log) {}

  Handlers handlers;
  Logger& log;
  TaskGroup tasks;
  std::set<std::shared_ptr<Connection>> connections;
  std::map<Connection*, std::shared_ptr<rpc::HangUp>> callers;  // the connections of calls
  std::list<std::shared_ptr<Connection>> newcomers;             // the oldest first
  bool closing = false;

  void take(std::unique_ptr<Connection> connection, bool http_only) {
    if (closing || connections.size() >= kConnectionsMax) {
      if (!closing) log.warn("connection refused", {{"reason", "too many"}, {"remote", connection->remote()}});
      connection->close();
      return;
    }
    std::shared_ptr<Connection> shared = std::move(connection);
    connections.insert(shared);
    // An honest one says what it wants within a round trip: the oldest is the least likely to do so any more.
    if (newcomers.size() >= kNewcomersMax) {
      newcomers.front()->close();
      newcomers.pop_front();
    }
    newcomers.push_back(shared);
    tasks.spawn(serve(shared_from_this(), shared, http_only));
  }

  static Awaitable<void> serve(std::shared_ptr<Impl> self, std::shared_ptr<Connection> connection, bool http_only) {
    bool http = http_only || connection->alpn() == net::kAlpnHttp;
    if (http)
      co_await self->serve_http(connection);
    else
      co_await self->route(connection);
    connection->close();
    self->admit(*connection);
    self->connections.erase(connection);
  }

  // It is no newcomer any more.
  void admit(const Connection& connection) {
    std::erase_if(newcomers, [&](const auto& newcomer) { return newcomer.get() == &connection; });
  }

  Awaitable<void> serve_http(std::shared_ptr<Connection> connection) {
    if (handlers.http) co_await handlers.http(connection);
  }

  Awaitable<void> route(std::shared_ptr<Connection> connection) {
    std::string received;
    std::optional<net::Decoded<net::FirstFrame>> first;
    {
      auto executor = co_await asio::this_coro::executor;
      net::Patience patience(executor, *connection, Clock::now() + kFirstFrameTime);
      std::byte buffer[4096];
      while (!first) {
        auto got = co_await connection->read_some(buffer);
        if (!got) co_return;
        received.append(reinterpret_cast<const char*>(buffer), *got);
        bool local = connection->peer().proof == net::Peer::Proof::local_user;
        if (local && looks_like_http(received)) break;
        auto decoded = net::decode_first_frame(received);
        if (!decoded) {
          log.debug("connection refused", {{"reason", decoded.error()}, {"remote", connection->remote()}});
          co_return;
        }
        first = std::move(*decoded);
      }
    }
    std::size_t taken = first ? first->taken : 0;
    connection->unread(bytes_of(std::string_view(received).substr(taken)));
    if (!first) co_return co_await serve_http(connection);
    net::FirstFrame frame = std::move(first->frame);
    co_await serve_first_frame(connection, std::move(frame));
  }

  Awaitable<void> serve_first_frame(std::shared_ptr<Connection> connection, net::FirstFrame frame) {
    net::FirstAnswer answer = net::answer_to(frame);
    LinkRegistry::OnArrived on_arrived;
    if (answer.status == net::FirstStatus::accepted && frame.use == net::Use::bytes) on_arrived = claim(frame, answer);
    if (answer.status == net::FirstStatus::accepted && frame.use == net::Use::records)
      answer = {.status = net::FirstStatus::refused, .message = "this version has no record links"};
    if (answer.status == net::FirstStatus::accepted) admit(*connection);
    std::string bytes = net::encode(answer);
    auto written = co_await connection->write(bytes_of(bytes));
    if (!written || answer.status != net::FirstStatus::accepted) co_return;
    if (on_arrived)
      on_arrived(connection->release());
    else
      co_await serve_calls(connection);
  }

  Awaitable<void> serve_calls(std::shared_ptr<Connection> connection) {
    auto hang_up = std::make_shared<rpc::HangUp>();
    callers[connection.get()] = hang_up;
    co_await rpc::serve(connection, *handlers.table, log, hang_up);
    callers.erase(connection.get());
  }

  // Whoever speaks our protocol is told why.
  void close_revoked(Connection& connection) {
    auto caller = callers.find(&connection);
    if (caller == callers.end() || !caller->second->now) return connection.close();
    std::string message = fmt::format("the certificate of {} was revoked", connection.peer().name);
    caller->second->now({rpc::Code::unauthenticated, std::move(message)});
  }

  LinkRegistry::OnArrived claim(const net::FirstFrame& frame, net::FirstAnswer& answer) {
    auto claim = link::decode_link_claim(frame.body);
    auto taken = claim ? handlers.links->claim(*claim) : std::unexpected(claim.error());
    if (taken) return std::move(*taken);
    answer = {.status = net::FirstStatus::refused, .message = taken.error()};
    return {};
  }
};

ConnectionRouter::ConnectionRouter(asio::any_io_executor executor, Handlers handlers, Logger& log)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(handlers), log)) {
  REQUIRE(impl_->handlers.table != nullptr);
  REQUIRE(impl_->handlers.links != nullptr);
}

ConnectionRouter::~ConnectionRouter() = default;

void ConnectionRouter::on_connection(std::unique_ptr<Connection> connection) {
  impl_->take(std::move(connection), false);
}

void ConnectionRouter::on_http_connection(std::unique_ptr<Connection> connection) {
  impl_->take(std::move(connection), true);
}

void ConnectionRouter::on_admitted(const Connection& connection) { impl_->admit(connection); }

void ConnectionRouter::close_revoked(const net::CertificateSerial& serial) {
  for (const auto& connection : impl_->connections)
    if (connection->peer().serial == serial) impl_->close_revoked(*connection);
}

Awaitable<void> ConnectionRouter::close() {
  auto impl = impl_;
  impl->closing = true;
  for (const auto& connection : impl->connections) connection->close();
  co_await impl->tasks.wait();
}

}  // namespace sluice::node
