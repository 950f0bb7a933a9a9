#pragma once
// Samples the stages of a flow that runs on this host alone.
// Threading: reads /proc, never waits.
#include <vector>

#include "link/pipe_observer.h"
#include "node/progress_display.h"

namespace sluice::node {

class LocalProgress final : public ProgressSource {
 public:
  /// Observers of the links, in order; fewer than links when descriptors ran out.
  void watch(std::vector<link::PipeObserver> observers) { observers_ = std::move(observers); }
  flow::ProgressSample sample(TimePoint now, const flow::FlowSummary& flow) const override;

 private:
  std::vector<link::PipeObserver> observers_;
};

}  // namespace sluice::node
