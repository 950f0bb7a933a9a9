#pragma once
// Virtual time: events in the order of their time, and of equal times in the order in which they were made. So a run is decided
// by its seed alone.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/require.h"
#include "base/time.h"

namespace sluice::sim {

template <class Event>
class EventQueue final {
 public:
  /// Time starts an hour after the clock's zero, so that "a while ago" is a time too.
  TimePoint now() const { return now_; }
  bool empty() const { return heap_.empty(); }
  std::size_t size() const { return heap_.size(); }

  void at(TimePoint when, Event event) {
    heap_.push_back({std::max(when, now_), ++made_, std::move(event)});
    std::ranges::push_heap(heap_, Later{});
  }

  /// Takes the next event if it is not after `limit`, and moves time to it; else moves time to `limit`.
  bool take(TimePoint limit, Event& into) {
    if (heap_.empty() || heap_.front().when > limit) {
      now_ = std::max(now_, limit);
      return false;
    }
    std::ranges::pop_heap(heap_, Later{});
    INVARIANT(heap_.back().when >= now_);
    now_ = heap_.back().when;
    into = std::move(heap_.back().event);
    heap_.pop_back();
    return true;
  }

 private:
  struct Entry {
    TimePoint when;
    std::uint64_t order;
    Event event;
  };
  struct Later {
    bool operator()(const Entry& a, const Entry& b) const {
      return a.when != b.when ? a.when > b.when : a.order > b.order;
    }
  };
  std::vector<Entry> heap_;
  std::uint64_t made_ = 0;
  TimePoint now_{std::chrono::hours(1)};
};

}  // namespace sluice::sim
