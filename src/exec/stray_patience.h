#pragma once
// How long a spawner without an owner bears with what its programs have left running. The owner's own rules
// (flow/flow_run.h) are the same in short; while there is an owner, it decides.
//
//   off --start--> looking --somebody drains a pipe--> looking again later, without a limit: what he has read would be lost
//                     |  nobody does
//                     v
//                  ending: they get SIGTERM --2 s--> killing: SIGKILL for everything, until nothing is left
//
// Threading: none of its own; no clock, no I/O.
#include <optional>

#include "base/time.h"

namespace sluice::exec {

class StrayPatience final {
 public:
  enum class Step { none, look, terminate, kill };

  /// Every program has ended and there is no owner. While it is on already this does nothing.
  void start(TimePoint now);
  /// An owner is there.
  void stop();
  /// The answer to `Step::look`.
  void on_look(bool somebody_drains_a_pipe, TimePoint now);

  /// What to do now; `terminate` and `kill` come once.
  Step poll_step(TimePoint now);
  std::optional<TimePoint> poll_deadline() const { return due_; }

 private:
  enum class State { off, looking, decided, ending, killing };
  State state_ = State::off;
  std::optional<TimePoint> due_;
};

}  // namespace sluice::exec
