#include "node/cluster_report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <string_view>

#include "node/flow_messages.h"
#include "node/host_name.h"
#include "node/plan_messages.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

flow::FlowEnd end_from(const v1::FlowEnded& ended) {
  switch (ended.end()) {
    case v1::FlowEnded::END_TIMED_OUT:
      return flow::FlowEnd::timed_out;
    case v1::FlowEnded::END_SIGNALLED:
      return flow::FlowEnd::signalled;
    case v1::FlowEnded::END_NOT_STARTED:
      return flow::FlowEnd::not_started;
    default:
      return flow::FlowEnd::completed;
  }
}

}  // namespace

ClusterReport::ClusterReport(const ClusterRunRequest& request, TimePoint start) : request_(request), start_(start) {
  summary_.name = request.run.name;
  summary_.rule = request.run.pipefail;
  for (const flow::Stage& stage : request.graph.stages) summary_.stages.push_back({.command = stage.command});
}

void ClusterReport::on_plan(const v1::FlowPlan& plan) {
  flow_id_ = plan.flow_id();
  for (const v1::PlannedStage& stage : plan.stages())
    if (stage.index() < summary_.stages.size() && summary_.stages[stage.index()].host.empty())
      summary_.stages[stage.index()].host = stage.place() == "here" ? host_name() : stage.place();
  if (!request_.dry_run) return;
  plan_text_ = request_.json ? plan_as_json(plan) + "\n" : describe_plan(plan);
  for (const v1::PlanProblem& problem : plan.problems()) problems_.push_back(problem.message());
}

void ClusterReport::on_stage(const v1::StageStatus& status, TimePoint now) {
  if (status.index() >= summary_.stages.size()) return;
  flow::StageSummary& stage = summary_.stages[status.index()];
  if (!status.host().empty()) stage.host = status.host();
  stage.pid = status.pid();
  if (!status.has_exited()) return;
  const v1::Exited& exited = status.exited();
  flow::StageEnd end = stage_end_from(exited);
  if (!stage.end || end.status.shell_status() >= stage.end->status.shell_status()) stage.end = end;
  stage.io_known = exited.io_known();
  stage.io_read_bytes = exited.io_read_bytes();
  stage.io_write_bytes = exited.io_write_bytes();
  stage.cpu_us = exited.cpu_us();
  stage.peak_memory_bytes = exited.peak_memory_bytes();
  stage.duration = now - start_;
}

RunResult ClusterReport::show_plan(const v1::FlowEnded& end) const {
  std::string_view rest = plan_text_;
  while (!rest.empty()) {
    ssize_t written = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (written <= 0) break;
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  for (const std::string& problem : problems_) say(problem);
  if (problems_.empty() && end.status() != 0) say(end.message());
  return {.status = problems_.empty() && end.status() == 0 ? 0 : 1};
}

RunResult ClusterReport::show_end(const v1::FlowEnded& end, TimePoint now) {
  summary_.duration = now - start_;
  summary_.status = end.status();
  summary_.signal = end.signal();
  summary_.end = end_from(end);
  if (request_.background && end.end() == v1::FlowEnded::END_COMPLETED) return {};
  say_why(end);
  if (request_.run.json_summary) write_stderr_line(to_json(summary_));
  bool signalled = summary_.end == flow::FlowEnd::signalled;
  return {.status = summary_.status, .signal = signalled ? summary_.signal : 0};
}

void ClusterReport::say_why(const v1::FlowEnded& end) const {
  bool lost = end.end() == v1::FlowEnded::END_LINK_LOST;
  bool not_started = end.end() == v1::FlowEnded::END_NOT_STARTED;
  if (lost || not_started) say(end.message());
  if (summary_.end == flow::FlowEnd::timed_out)
    say(fmt::format("the flow was ended: it had run for its {} (--timeout)", format_duration(*request_.run.timeout)));
  bool completed = summary_.end == flow::FlowEnd::completed && !lost;
  if (completed && summary_.status != 0 && !request_.run.quiet)
    for (const std::string& sentence : flow::failure_sentences(summary_)) say(sentence);
}

}  // namespace sluice::node
