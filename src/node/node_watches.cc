#include "node/node_watches.h"

#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <csignal>
#include <cstring>

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::minutes kTidyInterval{1};

}  // namespace

struct NodeWatches::Impl {
  Impl(asio::any_io_executor executor, exec::SpawnerPool& to_pool, Handlers to_handlers, Logger& to_log)
      : pool(to_pool),
        handlers(std::move(to_handlers)),
        log(to_log),
        pool_descriptor(executor, pool.descriptor()),
        signals(executor, SIGINT, SIGTERM, SIGHUP),
        minute(executor) {}
  ~Impl() { pool_descriptor.release(); }  // it is the pool's

  static Awaitable<void> watch_pool(std::shared_ptr<Impl> self) {
    while (!self->closed) {
      auto [error] = co_await self->pool_descriptor.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
      if (error) break;
      self->pool.on_readable();
      while (auto event = self->pool.poll_event()) self->on_pool(*event);
    }
  }

  void on_pool(const exec::PoolEvent& event) {
    switch (event.kind) {
      case exec::PoolEvent::Kind::fork_failed:
        return log.error("no spawner could be forked", {{"reason", std::strerror(event.error)}});
      case exec::PoolEvent::Kind::spawner_lost:
        return log.warn("a spawner was killed", {{"pid", event.pid}, {"in_use", event.was_leased ? "yes" : "no"}});
      case exec::PoolEvent::Kind::zygote_lost:
        log.error("zygote lost");
        return handlers.on_zygote_lost();
    }
  }

  static Awaitable<void> watch_signals(std::shared_ptr<Impl> self) {
    int received = 0;
    while (!self->closed) {
      auto [error, number] = co_await self->signals.async_wait(kTuple);
      if (error) break;
      self->log.info("told to leave by a signal", {{"signal", number}});
      if (++received > 1) ::_exit(128 + number);  // patience is over: the spawners end what they run by themselves
      self->handlers.on_signal();
    }
  }

  static Awaitable<void> tidy_up(std::shared_ptr<Impl> self) {
    while (!self->closed) {
      self->minute.expires_after(kTidyInterval);
      auto [error] = co_await self->minute.async_wait(kTuple);
      if (error) break;
      co_await self->handlers.tidy_up();
    }
  }

  exec::SpawnerPool& pool;
  Handlers handlers;
  Logger& log;
  asio::posix::stream_descriptor pool_descriptor;
  asio::signal_set signals;
  asio::steady_timer minute;
  bool closed = false;
};

NodeWatches::NodeWatches(asio::any_io_executor executor, TaskGroup& tasks, exec::SpawnerPool& pool, Handlers handlers,
                         Logger& log)
    : impl_(std::make_shared<Impl>(std::move(executor), pool, std::move(handlers), log)) {
  tasks.spawn(Impl::watch_pool(impl_));
  tasks.spawn(Impl::watch_signals(impl_));
  tasks.spawn(Impl::tidy_up(impl_));
}

NodeWatches::~NodeWatches() = default;

void NodeWatches::close() {
  impl_->closed = true;
  impl_->pool_descriptor.cancel();
  impl_->signals.cancel();
  impl_->minute.cancel();
}

}  // namespace sluice::node
