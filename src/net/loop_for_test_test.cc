#include "net/loop_for_test.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/require.h"
#include "net/wakeup.h"

namespace sluice::net {

struct TestLoop::Impl {
  asio::io_context context{1};
};

TestLoop::TestLoop() : impl_(std::make_unique<Impl>()) {}
TestLoop::~TestLoop() = default;

asio::any_io_executor TestLoop::executor() { return impl_->context.get_executor(); }

void TestLoop::run(Awaitable<void> task) {
  bool done = false;
  asio::co_spawn(impl_->context, std::move(task), [&](const std::exception_ptr& bug) {
    REQUIRE(!bug);
    done = true;
  });
  TimePoint deadline = Clock::now() + std::chrono::seconds(20);
  impl_->context.restart();
  while (!done) {
    if (Clock::now() > deadline || impl_->context.stopped()) {
      std::fputs("the task did not come to its end\n", stderr);
      std::abort();
    }
    impl_->context.run_one_until(deadline);
  }
}

void TestLoop::start(Awaitable<void> task) {
  asio::co_spawn(impl_->context, std::move(task), [](const std::exception_ptr& bug) { REQUIRE(!bug); });
}

void TestLoop::poll() {
  impl_->context.restart();
  impl_->context.poll();
}

struct Arrivals::Impl {
  explicit Impl(asio::any_io_executor executor) : arrived(std::move(executor)) {}
  std::deque<std::unique_ptr<Connection>> connections;
  Wakeup arrived;
};

Arrivals::Arrivals(TestLoop& loop) : impl_(std::make_shared<Impl>(loop.executor())) {}
Arrivals::~Arrivals() = default;

Listener::OnConnection Arrivals::taker() {
  return [impl = impl_](std::unique_ptr<Connection> connection) {
    impl->connections.push_back(std::move(connection));
    impl->arrived.wake();
  };
}

Awaitable<std::unique_ptr<Connection>> Arrivals::next() {
  while (impl_->connections.empty()) co_await impl_->arrived.wait_until(soon());
  auto connection = std::move(impl_->connections.front());
  impl_->connections.pop_front();
  co_return connection;
}

std::size_t Arrivals::waiting() const { return impl_->connections.size(); }

Awaitable<std::expected<std::string, NetError>> read_exactly(Connection& connection, std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t have = 0; have < size;) {
    auto got = co_await connection.read_some(std::as_writable_bytes(std::span(text)).subspan(have));
    if (!got) co_return std::unexpected(got.error());
    have += *got;
  }
  co_return text;
}

Awaitable<std::pair<std::string, NetError>> read_to_end(Connection& connection) {
  std::string text;
  std::vector<std::byte> into(kTlsBatch);
  while (true) {
    auto got = co_await connection.read_some(into);
    if (!got) co_return std::pair(std::move(text), got.error());
    text.append(reinterpret_cast<const char*>(into.data()), *got);
  }
}

}  // namespace sluice::net
