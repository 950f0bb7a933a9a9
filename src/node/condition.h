#pragma once
// Wakes coroutines that wait for something to change. There is no memory: who waits looks first, and again when woken.
// Threading: belongs to one loop.
#include <memory>
#include <optional>

#include "base/time.h"
#include "net/async.h"

namespace sluice::node {

class Condition final {
 public:
  explicit Condition(net::asio::any_io_executor executor);
  ~Condition();
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;

  /// Wakes everybody who waits now.
  void notify();
  /// Returns after the next `notify`, or at `deadline`.
  net::Awaitable<void> wait(std::optional<TimePoint> deadline = {});

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace sluice::node
