#pragma once
// A loop for the tests of this folder: runs a coroutine to its end, within a time.
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/log.h"
#include "net/async.h"
#include "net/connection.h"
#include "net/listener.h"

namespace sluice::net {

class TestLoop final {
 public:
  TestLoop();
  ~TestLoop();
  TestLoop(const TestLoop&) = delete;
  TestLoop& operator=(const TestLoop&) = delete;

  asio::any_io_executor executor();
  /// Stops the process, saying so, if the task takes more than 20 s.
  void run(Awaitable<void> task);
  template <class T>
  T run(Awaitable<T> task) {
    std::optional<T> result;
    run(keep(std::move(task), result));
    return *std::move(result);
  }
  /// Starts a task beside others; it runs while another is run.
  void start(Awaitable<void> task);
  /// Runs what is ready and nothing else.
  void poll();

 private:
  template <class T>
  static Awaitable<void> keep(Awaitable<T> task, std::optional<T>& result) {
    result = co_await std::move(task);
  }

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What a listener handed over, in order.
class Arrivals final {
 public:
  explicit Arrivals(TestLoop& loop);
  ~Arrivals();
  Listener::OnConnection taker();
  Awaitable<std::unique_ptr<Connection>> next();
  std::size_t waiting() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// All bytes until `size` have come; the error that came before.
Awaitable<std::expected<std::string, NetError>> read_exactly(Connection& connection, std::size_t size);
/// Until the connection ends, and how it did.
Awaitable<std::pair<std::string, NetError>> read_to_end(Connection& connection);

inline TimePoint soon() { return Clock::now() + std::chrono::seconds(10); }

}  // namespace sluice::net
