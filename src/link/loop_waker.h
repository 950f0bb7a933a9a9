#pragma once
// Tells who waits on a loop that something happened elsewhere.
// Threading: any thread may wake, whether the one that waits is still there or not.
#include <memory>
#include <utility>

#include "link/data_loops.h"
#include "link/readiness.h"

namespace sluice::link {

class LoopWaker final {
 public:
  LoopWaker(LoopMailbox loop, const std::shared_ptr<LoopWaiter>& waiter) : loop_(std::move(loop)), waiter_(waiter) {}

  void wake() const {
    loop_.post([waiter = waiter_] {
      if (auto waits = waiter.lock()) waits->on_ready();
    });
  }
  /// For waits on the loop itself; none if it is gone.
  std::shared_ptr<LoopWaiter> waiter() const { return waiter_.lock(); }

 private:
  LoopMailbox loop_;
  std::weak_ptr<LoopWaiter> waiter_;
};

}  // namespace sluice::link
