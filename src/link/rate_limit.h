#pragma once
// So many records a second at most, evenly: what was not used is saved for a twentieth of a second.
// Threading: a value; no clock.
#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/time.h"

namespace sluice::link {

class RateLimit final {
 public:
  /// Requires: more than 0, at most 10^9.
  explicit RateLimit(double per_second)
      : interval_(std::max(std::chrono::duration_cast<Duration>(std::chrono::duration<double>(1 / per_second)),
                           Duration(1))) {}

  /// How many are allowed now.
  std::uint32_t allowed(TimePoint now) const {
    TimePoint next = std::max(next_, now - kSaved);
    if (now < next) return 0;
    return static_cast<std::uint32_t>(std::min<std::int64_t>((now - next) / interval_ + 1, UINT32_MAX));
  }
  /// When the next is allowed, if none is now.
  TimePoint next() const { return next_; }
  /// Requires: allowed.
  void take(TimePoint now, std::uint32_t count) { next_ = std::max(next_, now - kSaved) + count * interval_; }

 private:
  static constexpr Duration kSaved = std::chrono::milliseconds(50);

  Duration interval_;
  TimePoint next_{};
};

}  // namespace sluice::link
