#pragma once
// What a coroutine waits for until another wakes it, or until a time.
// Threading: belongs to the loop of its executor.
#include <memory>

#include "base/time.h"
#include "net/async.h"

namespace sluice::net {

class Wakeup final {
 public:
  explicit Wakeup(asio::any_io_executor executor);
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  /// One wait at a time. Returns at `at`, or sooner when `wake` is called; look at the reason again.
  Awaitable<void> wait_until(TimePoint at);
  /// Without anybody who waits, this does nothing.
  void wake();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::net
