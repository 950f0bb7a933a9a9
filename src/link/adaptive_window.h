#pragma once
// How much a consumer lets be on its way to it, in records or in bytes: as much as keeps its program busy, and no more.
//
// It doubles when the program had to wait although the producer had more to send, which is when less is on its way than
// fits the round trip (bandwidth x delay). It halves when records wait too long in front of a slow program: they could
// be with another worker, and are all repeated if this one dies. It is judged once in the time in which a window's
// worth is taken.
// A program may also wait for a producer that can't go faster. What is on its way then only fills memory, and above what a
// processor's cache holds it costs half the throughput. So above `size_free` a size is a trial: the double must carry more
// than the size before it, and the half of it is tried now and then, and kept if it carries as much. A trial that failed is
// repeated after twice the time.
// Invariants: size_min <= size() <= size_max.
// Threading: a value.
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>

#include "base/time.h"

namespace sluice::link {

class AdaptiveWindow final {
 public:
  struct Options {
    std::uint64_t size_min = 1;
    std::uint64_t size_start = 4;
    std::uint64_t size_max = 1;
    /// Up to here it doubles without a trial.
    std::uint64_t size_free = std::numeric_limits<std::uint64_t>::max();
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
  struct Trial {
    std::uint64_t size_before = 0;
    double rate_before = 0;
  };
  // When a size is tried next, in windows that were taken since the last trial.
  struct Patience {
    std::uint64_t first = 0;
    std::uint64_t wait = first;
    std::uint64_t left = first;
    void on_success() { left = wait = first; }
    void on_failure();
    bool is_over() const { return left == 0; }
    void on_window() { left -= left > 0 ? 1 : 0; }
  };

  void judge(Duration elapsed);
  void judge_trial();
  void try_size(std::uint64_t size);
  void change(std::uint64_t size);
  bool knows_rate() const;
  /// What was taken in a nanosecond since the size changed.
  double rate() const;

  Options options_;
  std::uint64_t size_;
  std::optional<Trial> trial_;
  bool climbs_ = false;  // the last trial was clearly better: the next one follows
  Patience larger_{.first = 4}, smaller_{.first = 32};
  // Since the size changed:
  std::uint64_t windows_ = 0, taken_at_size_ = 0;
  Duration elapsed_at_size_{};
  // Since the last judgement:
  TimePoint began_{};
  std::uint64_t taken_ = 0;
  Duration idle_{};
  Duration queued_longest_{};
  bool starved_ = false;
};

}  // namespace sluice::link
