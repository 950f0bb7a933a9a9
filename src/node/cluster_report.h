#pragma once
// What the node has said of a flow, and what the user is told of it in the end: the plan of a dry run, or a summary.
// Threading: a value; writes to stdout and stderr.
#include <string>
#include <vector>

#include "base/time.h"
#include "flow/flow_summary.h"
#include "node/cluster_request.h"

namespace sluice::v1 {
class FlowEnded;
class FlowPlan;
class LinkCounts;
class StageStatus;
}  // namespace sluice::v1

namespace sluice::node {

class ClusterReport final {
 public:
  /// `request` outlives it.
  ClusterReport(const ClusterRunRequest& request, TimePoint start);

  void on_plan(const v1::FlowPlan& plan);
  void on_stage(const v1::StageStatus& status, TimePoint now);
  void on_link_counts(const v1::LinkCounts& counts);

  /// Empty: the node has not said it.
  const std::string& flow_id() const { return flow_id_; }
  const flow::FlowSummary& summary() const { return summary_; }

  /// Writes the plan to stdout.
  RunResult show_plan(const v1::FlowEnded& end) const;
  /// Says how the flow has ended, where that has to be said.
  RunResult show_end(const v1::FlowEnded& end, TimePoint now);

 private:
  void note_end(const v1::StageStatus& status, TimePoint now);
  void say_why(const v1::FlowEnded& end) const;
  void say_what_stayed() const;
  void say_what_is_not_counted(const v1::FlowPlan& plan) const;
  bool is_counted(std::size_t stage, const v1::FlowPlan& plan) const;

  const ClusterRunRequest& request_;
  TimePoint start_;
  flow::FlowSummary summary_;
  std::string flow_id_;
  std::string plan_text_;
  std::vector<std::string> problems_;
};

}  // namespace sluice::node
