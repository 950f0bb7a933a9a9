#pragma once
// How the programs of one part do, for the orchestrator, if it wants to know: now and then (`fill`), or when somebody
// asks for the counters of the flow (`report`). What their processes do with their time is known from looks at them;
// nobody looks as long as nobody asks. Threading: belongs to the control loop; reads /proc, never waits.
#include <cstdint>
#include <optional>
#include <vector>

#include "base/time.h"
#include "exec/spawn_protocol.h"
#include "flow/flow_counters.h"
#include "flow/progress.h"
#include "link/pipe_observer.h"
#include "node/stage_sampler.h"

namespace sluice::v1 {
class Activity;
class Moved;
class Prepare;
class StageMoved;
}  // namespace sluice::v1

namespace sluice::node {

/// Whose program it is: a position among the stages of the part.
struct ProgramPlace {
  std::size_t stage = 0;
  std::uint32_t worker = 0;  // from 1, of a stage that has many; else 0
};

void to_message(const flow::Activity& activity, v1::Activity& message);
/// That of the stage with this index in the flow; it is made if it is not there.
v1::StageMoved& stage_in(v1::Moved& moved, std::uint32_t index);

class PartProgress final {
 public:
  /// `pipes`: behind each program, in order; there may be fewer. `places`: of each program.
  void on_started(const exec::Started& started, std::vector<link::PipeObserver> pipes,
                  const std::vector<ProgramPlace>& places);
  void on_exited(const exec::Exited& exited);
  /// How each stage of `prepare` does now. Requires that each has one program.
  void fill(const v1::Prepare& prepare, v1::Moved& moved) const;

  /// Looks at all programs that run.
  void look(TimePoint now);
  /// What the looks have told of the stages of `prepare`.
  void report(const v1::Prepare& prepare, v1::Moved& moved) const;

 private:
  struct Watched {
    explicit Watched(TimePoint start) : activity(start) {}
    flow::ActivityEstimate activity;
    ProcessLook last;
  };
  struct Program {
    std::int32_t pid = 0;  // 0: it is started by job
    ProgramPlace place;
    Watched watched;
    std::optional<flow::StageSample> end;  // it has ended
    link::PipeObserver output;
  };
  static void look(Watched& watched, pid_t pid, TimePoint now);
  void report(const Program& program, v1::StageMoved& stage) const;

  TimePoint started_at_;
  std::vector<Program> programs_;
};

}  // namespace sluice::node
