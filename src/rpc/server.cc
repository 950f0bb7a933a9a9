#include "rpc/server.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <exception>
#include <utility>

#include "rpc/call_driver.h"

namespace sluice::rpc {

namespace asio = boost::asio;

namespace {

class ConnectionCall final : public ServerCall {
 public:
  ConnectionCall(std::shared_ptr<CallDriver> driver, StreamId stream)
      : driver_(std::move(driver)), stream_(stream), info_(info_of(*driver_, stream)) {
    driver_->attach(stream_, waiters_);
  }
  ~ConnectionCall() override { driver_->detach(stream_); }
  ConnectionCall(const ConnectionCall&) = delete;
  ConnectionCall& operator=(const ConnectionCall&) = delete;

  const CallInfo& info() const override { return info_; }

  net::Awaitable<std::expected<std::optional<std::string>, Status>> read() override {
    while (true) {
      if (over()) co_return std::unexpected(cancellation());
      if (auto message = calls().read(stream_)) {
        driver_->pump();  // credit may be due
        co_return message;
      }
      if (calls().read_to_end(stream_)) co_return std::nullopt;
      bool notified = co_await waiters_.readable.wait();
      if (!notified) co_return std::unexpected(cancellation());
    }
  }

  net::Awaitable<std::expected<void, Status>> write(std::string message) override {
    if (message.size() > kMessageMax)
      co_return std::unexpected(
          Status{Code::resource_exhausted,
                 fmt::format("a message of {} bytes; at most {} are allowed", message.size(), kMessageMax)});
    while (!over() && !calls().writable(stream_)) {
      bool notified = co_await waiters_.writable.wait();
      if (!notified) co_return std::unexpected(cancellation());
    }
    if (over()) co_return std::unexpected(cancellation());
    calls().write(stream_, std::move(message));
    driver_->pump();
    co_return std::expected<void, Status>{};
  }

  net::Awaitable<void> cancelled() override {
    while (!over()) {
      bool notified = co_await waiters_.over.wait();
      if (!notified) break;
    }
  }

 private:
  static CallInfo info_of(CallDriver& driver, StreamId stream) {
    const CallRequest& request = driver.calls().request(stream);
    CallInfo info{request.method, {}, driver.calls().deadline(stream)};
    info.caller.connection = driver.connection().peer();
    info.caller.remote = driver.connection().remote();
    if (request.on_behalf) {
      info.caller.on_behalf_of = request.on_behalf->name;
      info.caller.on_behalf_role = request.on_behalf->role;
    }
    // A claim that is not believed is refused by the dispatch table; until then it counts for the least.
    info.caller.effective =
        effective_role(info.caller.connection.role, info.caller.on_behalf_role).value_or(net::Role::read);
    return info;
  }

  CallMultiplexer& calls() { return driver_->calls(); }
  bool over() { return calls().over(stream_) != nullptr; }
  Status cancellation() {
    const Status* reason = calls().over(stream_);
    return {Code::cancelled, reason == nullptr ? "nobody waits for it any more" : reason->message};
  }

  std::shared_ptr<CallDriver> driver_;
  StreamId stream_;
  CallInfo info_;
  CallWaiters waiters_;
};

struct Server {
  Server(const DispatchTable& dispatch_table, Logger& logger) : table(dispatch_table), log(logger) {}

  std::shared_ptr<CallDriver> driver;
  const DispatchTable& table;
  Logger& log;
  std::size_t handlers = 0;  // that run
  Wakeup handler_ended;
};

net::Awaitable<void> run_call(std::shared_ptr<Server> server, StreamId stream) {
  Status status;
  {
    ConnectionCall call(server->driver, stream);
    status = co_await server->table.run(call);
  }
  server->driver->calls().finish(stream, std::move(status));
  server->driver->pump();
}

// What a handler throws is a bug of ours (docs/HACKING.md): the process stops rather than go on with half a change.
void on_call_ended(Server& server, const std::exception_ptr& exception) noexcept {
  if (exception) {
    server.log.error("exception in a call", {{"remote", server.driver->connection().remote()}});
    std::rethrow_exception(exception);
  }
  --server.handlers;
  server.handler_ended.notify();
}

void start_call(const std::weak_ptr<Server>& weak, const asio::any_io_executor& executor, StreamId stream) {
  auto server = weak.lock();
  if (!server) return;
  ++server->handlers;
  asio::co_spawn(executor, run_call(server, stream),
                 [server](const std::exception_ptr& exception) { on_call_ended(*server, exception); });
}

bool in_good_order(const net::NetError& error) {
  return error.kind == net::NetErrorKind::closed || error.kind == net::NetErrorKind::cancelled;
}

}  // namespace

net::Awaitable<void> serve(std::shared_ptr<net::Connection> connection, const DispatchTable& table, Logger& log,
                           std::shared_ptr<HangUp> hang_up) {
  auto executor = co_await asio::this_coro::executor;
  auto server = std::make_shared<Server>(table, log);
  server->driver = std::make_shared<CallDriver>(
      std::move(connection), MultiplexerOptions{.side = Side::server},
      [weak = std::weak_ptr(server), executor](StreamId stream) { start_call(weak, executor, stream); });
  if (hang_up)
    hang_up->now = [weak = std::weak_ptr(server->driver)](const Status& why) {
      if (auto driver = weak.lock()) driver->hang_up(why);
    };
  net::NetError reason = co_await CallDriver::run(server->driver);
  if (hang_up) hang_up->now = nullptr;
  if (!in_good_order(reason))
    log.debug("connection of calls ended",
              {{"remote", server->driver->connection().remote()}, {"reason", reason.message}});
  while (server->handlers > 0) co_await server->handler_ended.wait();
}

}  // namespace sluice::rpc
