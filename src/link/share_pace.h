#pragma once
// How far ahead a reader of shared records is fed: little at first, since what lies in the pipe of a slow one is waited
// for at the end while others have nothing to do; more as soon as it proves to be quick.
// Threading: a value; no clock.
#include <chrono>
#include <cstddef>

#include "base/time.h"

namespace sluice::link {

class SharePace final {
 public:
  /// How much its pipe is to hold. The least is a page, which is the least that a pipe can have (pipe(7)).
  std::size_t pipe_bytes() const { return pipe_; }
  /// What it is given at once, one longer record aside.
  std::size_t delivery_bytes_max() const { return pipe_ / 8; }
  bool is_quick() const { return pipe_ == kMost; }

  /// True: it has earned a larger pipe.
  bool on_written(std::size_t bytes, TimePoint now) {
    if (now - since_ > kInterval) begin(now);
    written_ += bytes;
    if (is_quick() || written_ < 4 * pipe_) return false;
    pipe_ *= 2;
    begin(now);
    return true;
  }

 private:
  // Who takes four pipes in this time holds no more than a fortieth of a second of work in one.
  static constexpr Duration kInterval = std::chrono::milliseconds(100);
  static constexpr std::size_t kLeast = std::size_t{4} << 10, kMost = std::size_t{64} << 10;

  void begin(TimePoint now) {
    since_ = now;
    written_ = 0;
  }

  std::size_t pipe_ = kLeast;
  std::size_t written_ = 0;
  TimePoint since_{};
};

}  // namespace sluice::link
