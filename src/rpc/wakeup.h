#pragma once
// What a coroutine waits for until another one of the same loop says that something has changed. Like a condition
// variable it remembers nothing: look first, then wait, then look again.
// `co_await` it in a statement of its own: g++ 12 miscompiles `if (co_await ...)` in a coroutine without local variables.
// A coroutine that waits keeps nothing alive but itself; whoever owns the Wakeup notifies it before the end.
// Threading: belongs to one loop.
#include <cstdint>
#include <list>

#include "net/async.h"

namespace sluice::rpc {

class Wakeup final {
 public:
  Wakeup();
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  /// Waits for the next `notify`. False: Asio's cancellation ended the wait.
  net::Awaitable<bool> wait();
  /// Wakes everyone who waits now. They run later, not within this call.
  void notify();

 private:
  struct Waiter;
  void start(Waiter waiter);
  void cancel(std::uint64_t number);

  std::list<Waiter> waiters_;
  std::uint64_t started_ = 0;
};

}  // namespace sluice::rpc
