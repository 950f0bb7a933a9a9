#pragma once
// Where the time of one worker goes: it has something in hand, or nothing, or its output waits for the reader.
// Invariants: busy, idle and held back add up to the time in which its place was taken, at every reading.
// Threading: values; SharedWorkerTimes is changed by one thread and read by any.
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "base/time.h"

namespace sluice::link {

struct WorkerDurations {
  Duration busy{};       // it has records in hand, and what it writes is wanted
  Duration idle{};       // it has nothing in hand
  Duration held_back{};  // what it or its stage has written waits for the reader: it is not heard, or given no more

  WorkerDurations& operator+=(const WorkerDurations& other) {
    busy += other.busy;
    idle += other.idle;
    held_back += other.held_back;
    return *this;
  }
  Duration total() const { return busy + idle + held_back; }
  bool operator==(const WorkerDurations&) const = default;
};

/// `gone`: nobody has its place now, and no time passes for it.
enum class WorkerState : std::uint8_t { idle, busy, held_back, gone };

class WorkerTimes final {
 public:
  /// Its place exists, and it is idle.
  explicit WorkerTimes(TimePoint now) : since_(now) {}

  WorkerState state() const { return state_; }
  /// Requires: no time before that of an earlier call.
  void enter(WorkerState state, TimePoint now) {
    past_ = at(now);
    since_ = now;
    state_ = state;
  }
  /// The state that it is in counts up to now. Requires: as enter().
  WorkerDurations at(TimePoint now) const {
    WorkerDurations durations = past_;
    if (state_ == WorkerState::busy) durations.busy += now - since_;
    if (state_ == WorkerState::idle) durations.idle += now - since_;
    if (state_ == WorkerState::held_back) durations.held_back += now - since_;
    return durations;
  }

 private:
  WorkerState state_ = WorkerState::idle;
  TimePoint since_;
  WorkerDurations past_;
};

/// Of the workers of one stage, by a clock of its own.
class SharedWorkerTimes final {
 public:
  explicit SharedWorkerTimes(std::size_t workers) : times_(workers, WorkerTimes(Clock::now())) {}

  /// There are so many now; the new ones are idle.
  void grow(std::size_t workers) {
    std::lock_guard lock(mutex_);
    if (workers > times_.size()) times_.resize(workers, WorkerTimes(Clock::now()));
  }
  /// `state_of(worker)`. The clock is read only if one of them has changed.
  template <class StateOf>
  void enter(StateOf&& state_of) {
    std::lock_guard lock(mutex_);
    std::optional<TimePoint> now;  // read in the lock: what somebody has read before is not later
    for (std::size_t worker = 0; worker < times_.size(); ++worker) {
      WorkerState state = state_of(worker);
      if (state == times_[worker].state()) continue;
      if (!now) now = Clock::now();
      times_[worker].enter(state, *now);
    }
  }
  /// Of each, up to now.
  std::vector<WorkerDurations> read() const {
    std::lock_guard lock(mutex_);
    TimePoint now = Clock::now();
    std::vector<WorkerDurations> durations;
    for (const WorkerTimes& times : times_) durations.push_back(times.at(now));
    return durations;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<WorkerTimes> times_;
};

}  // namespace sluice::link
