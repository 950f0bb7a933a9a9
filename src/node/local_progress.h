#pragma once
// Samples the stages of a flow that runs on this host alone.
// Threading: reads /proc, never waits.
#include <map>
#include <utility>
#include <vector>

#include "flow/plan.h"
#include "link/pipe_observer.h"
#include "node/progress_display.h"

namespace sluice::node {

class LocalProgress final : public ProgressSource {
 public:
  /// Observers of the kernel pipes between stages, in order; fewer than there are when descriptors ran out.
  void watch(const flow::Plan& plan, std::vector<link::PipeObserver> observers);
  /// Of the pipe that leads from a junction into a stage.
  void watch_input(std::size_t stage, link::PipeObserver observer) { inputs_.emplace(stage, std::move(observer)); }
  flow::ProgressSample sample(TimePoint now, const flow::FlowSummary& flow) const override;

 private:
  std::map<std::size_t, link::PipeObserver> inputs_;  // by the stage that reads
};

}  // namespace sluice::node
