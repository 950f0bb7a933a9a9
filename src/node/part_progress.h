#pragma once
// How the programs of one part do, for the orchestrator, if it wants to know.
// Threading: belongs to the control loop; reads /proc, never waits.
#include <vector>

#include "base/time.h"
#include "exec/spawn_protocol.h"
#include "flow/progress.h"
#include "link/pipe_observer.h"

namespace sluice::v1 {
class Moved;
class Prepare;
}  // namespace sluice::v1

namespace sluice::node {

class PartProgress final {
 public:
  /// `pipes`: behind each program, in order; there may be fewer.
  void on_started(const exec::Started& started, std::vector<link::PipeObserver> pipes);
  void on_exited(const exec::Exited& exited);
  /// How each stage of `prepare` does now.
  void fill(const v1::Prepare& prepare, v1::Moved& moved) const;

 private:
  struct Program {
    std::int32_t pid = 0;
    std::optional<flow::StageSample> end;  // it has ended
    link::PipeObserver output;
  };
  TimePoint started_at_;
  std::vector<Program> programs_;
};

}  // namespace sluice::node
