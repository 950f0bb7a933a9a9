#pragma once
// Samples the stages of a running flow and shows their progress on stderr.
// Threading: belongs to the loop that owns it; reads /proc, never waits.
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "flow/flow_summary.h"
#include "flow/progress.h"
#include "link/pipe_observer.h"
#include "node/embedded_run.h"
#include "node/stderr_queue.h"
#include "node/terminal.h"

namespace sluice::node {

class ProgressDisplay final {
 public:
  ProgressDisplay(ProgressMode mode, TimePoint start, StderrQueue& output);

  bool active() const { return style_ != Style::off; }
  /// Observers of the links, in order; fewer than links when descriptors ran out.
  void watch(std::vector<link::PipeObserver> observers) { observers_ = std::move(observers); }

  std::optional<TimePoint> deadline() const;
  void on_deadline(TimePoint now, const flow::FlowSummary& flow, const Terminal& terminal);
  /// Shows the last state, or wipes what a terminal shows.
  void finish(TimePoint now, const flow::FlowSummary& flow, const Terminal& terminal);

 private:
  enum class Style { off, in_place, lines, json };

  flow::ProgressSample sample(TimePoint now, const flow::FlowSummary& flow) const;
  bool must_hold_back(const Terminal& terminal) const;
  void show(const flow::FlowSummary& flow);
  void wipe();

  StderrQueue& output_;
  Style style_ = Style::off;
  flow::Progress progress_;
  std::vector<link::PipeObserver> observers_;
  TimePoint sample_at_;
  TimePoint show_at_;
  bool on_terminal_ = false;
  bool shown_ = false;
};

}  // namespace sluice::node
