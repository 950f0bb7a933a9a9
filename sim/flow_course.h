#pragma once
// The course of one run of a FlowWorld, which all of its stages share: its time and what is to come, what is drawn
// from its seed, and what was found wrong.
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "sim/draws.h"
#include "sim/event_queue.h"
#include "sim/trace_hash.h"
#include "sim/violations.h"

namespace sluice::sim {

/// Something that comes to a stage in time.
struct FlowEvent {
  /// `go_on`: a tap or a sink is done with the record `text`; any other stage is only asked again. The others are of
  /// processes.
  enum class Kind : std::uint8_t { go_on, hello, done_with, look };
  Kind kind = Kind::go_on;
  std::size_t stage = 0;
  std::size_t worker = 0;
  std::uint64_t life = 0;  // of its process
  std::uint64_t number = 0;
  std::string text;
};

class FlowCourse final {
 public:
  explicit FlowCourse(std::uint64_t seed) : draws_(seed) {}

  TimePoint now() const { return queue_.now(); }
  void at(TimePoint when, FlowEvent event) { queue_.at(when, std::move(event)); }
  /// At some time up to `most` from now.
  void within(Duration most, FlowEvent event) { at(now() + draws_.some(most), std::move(event)); }
  /// The next event, if it is not after `limit`; it leaves its trace.
  bool take(TimePoint limit, FlowEvent& into) {
    if (!queue_.take(limit, into)) return false;
    trace_.add(static_cast<std::uint64_t>(into.kind) << 32 | into.stage << 8 | into.worker);
    trace_.add(static_cast<std::uint64_t>(now().time_since_epoch().count()));
    trace_.add(into.text);
    return true;
  }
  std::uint64_t trace() const { return trace_.value(); }

  std::uint64_t below(std::uint64_t limit) { return draws_.below(limit); }
  /// Whether a fault happens.
  bool chance(double share) { return faulty_ && draws_.chance(share); }
  /// None does from now on.
  void heal() { faulty_ = false; }

  void violate(std::string what) { violations_.add(std::move(what)); }
  const std::vector<std::string>& violations() const { return violations_.list(); }

 private:
  Draws draws_;
  EventQueue<FlowEvent> queue_;
  bool faulty_ = true;
  Violations violations_;
  TraceHash trace_;
};

}  // namespace sluice::sim
