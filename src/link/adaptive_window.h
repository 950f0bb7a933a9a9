#pragma once
// How much a consumer lets be on its way to it, in records or in bytes: as much as keeps its program busy, and no more.
//
// It doubles when the program had to wait although the producer had more to send, which is when less is on its way than
// fits the round trip (bandwidth x delay). It halves when records wait too long in front of a slow program: they could
// be with another worker, and are all repeated if this one dies. It is judged once in the time in which a window's
// worth is taken.
// Invariants: size_min <= size() <= size_max.
// Threading: a value.
#include <chrono>
#include <cstdint>

#include "base/time.h"

namespace sluice::link {

class AdaptiveWindow final {
 public:
  struct Options {
    std::uint64_t size_min = 1;
    std::uint64_t size_start = 4;
    std::uint64_t size_max = 1;
    /// How long the last of a window may wait in front of the program.
    Duration queue_time_max = std::chrono::milliseconds(100);
  };

  explicit AdaptiveWindow(const Options& options);

  std::uint64_t size() const { return size_; }

  /// The producer had no credit left.
  void on_starved() { starved_ = true; }
  /// The program had to wait that long.
  void on_idle(Duration duration) { idle_ += duration; }
  /// The program took `amount`, which had waited `queued` for it.
  void on_taken(std::uint64_t amount, Duration queued, TimePoint now);

 private:
  void judge(Duration elapsed);

  Options options_;
  std::uint64_t size_;
  // Since the last judgement:
  TimePoint began_{};
  std::uint64_t taken_ = 0;
  Duration idle_{};
  Duration queued_longest_{};
  bool starved_ = false;
};

}  // namespace sluice::link
