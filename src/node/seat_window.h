#pragma once
// How much of the input of one process on another host may be on its way to it: short at first, doubled whenever all of
// it was taken fast, within a limit. So a slow process holds few records that others could have done, and a fast one
// is not kept waiting by the way there and back.
// Invariant: on the way <= size.
// Threading: a value.
#include <algorithm>
#include <chrono>
#include <cstddef>

#include "base/time.h"

namespace sluice::node {

class SeatWindow final {
 public:
  static constexpr std::size_t kFirst = 4096;
  static constexpr std::size_t kMost = std::size_t{1} << 20;

  std::size_t room() const { return size_ - on_the_way_; }
  std::size_t size() const { return size_; }
  /// Requires: at most room().
  void on_sent(std::size_t bytes) { on_the_way_ += bytes; }
  /// The other end says so: more than was sent counts as all of it.
  void on_taken(std::size_t bytes, TimePoint now) {
    bytes = std::min(bytes, on_the_way_);
    on_the_way_ -= bytes;
    taken_ += bytes;
    if (taken_ < kTurns * size_) return;
    if (now - since_ < kFast) size_ = std::min(2 * size_, kMost);
    taken_ = 0;
    since_ = now;
  }

 private:
  static constexpr std::size_t kTurns = 4;
  static constexpr Duration kFast = std::chrono::milliseconds(50);

  std::size_t size_ = kFirst;
  std::size_t on_the_way_ = 0;
  std::size_t taken_ = 0;  // since `since_`
  TimePoint since_{};
};

}  // namespace sluice::node
