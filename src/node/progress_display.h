#pragma once
// Shows the progress of the stages of a running flow on stderr.
// Threading: belongs to the loop that owns it; never waits.
#include <optional>
#include <string>

#include "base/time.h"
#include "flow/flow_summary.h"
#include "flow/progress.h"
#include "node/embedded_run.h"
#include "node/stderr_queue.h"
#include "node/terminal.h"

namespace sluice::node {

/// Knows how the stages do: those of this host (local_progress.h), or of several (cluster_progress.h).
class ProgressSource {
 public:
  virtual ~ProgressSource() = default;
  virtual flow::ProgressSample sample(TimePoint now, const flow::FlowSummary& flow) const = 0;
};

class ProgressDisplay final {
 public:
  /// `output` and `source` outlive it.
  ProgressDisplay(ProgressMode mode, TimePoint start, StderrQueue& output, const ProgressSource& source);

  bool active() const { return style_ != Style::off; }
  std::optional<TimePoint> deadline() const;
  void on_deadline(TimePoint now, const flow::FlowSummary& flow, const Terminal& terminal);
  /// Shows the last state, or wipes what a terminal shows.
  void finish(TimePoint now, const flow::FlowSummary& flow, const Terminal& terminal);

 private:
  enum class Style { off, in_place, lines, json };

  bool must_hold_back(const Terminal& terminal) const;
  void show(const flow::FlowSummary& flow);
  void wipe();

  StderrQueue& output_;
  const ProgressSource& source_;
  Style style_ = Style::off;
  flow::Progress progress_;
  TimePoint sample_at_;
  TimePoint show_at_;
  bool on_terminal_ = false;
  bool shown_ = false;
};

}  // namespace sluice::node
