#include "node/cluster_report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "node/flow_messages.h"
#include "node/host_name.h"
#include "node/plan_messages.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::size_t kWorkersMax = 16384;  // more than a cluster has nodes
constexpr std::size_t kLinksMax = 16384;    // more than a flow has

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

bool is_everywhere(const ClusterRunRequest& request, std::size_t stage) {
  return request.graph.stages[stage].words.where.kind == flow::Whereabouts::Kind::every_node;
}

void note_place(const v1::PlannedStage& planned, flow::StageSummary& stage) {
  stage.elsewhere = planned.place() != "here";
  stage.host = stage.elsewhere ? planned.place() : host_name();
}

// One after the other, as they were shared out at the start.
void note_workers(const v1::PlannedStage& planned, flow::StageSummary& stage) {
  if (planned.workers() == 0 || planned.workers() > kWorkersMax || !stage.workers.empty()) return;
  for (const v1::PlannedSeats& seats : planned.seats())
    for (std::uint32_t i = 0; i < seats.workers() && stage.workers.size() < planned.workers(); ++i)
      stage.workers.push_back({.host = seats.node()});
  while (stage.workers.size() < planned.workers()) stage.workers.push_back({.host = stage.host});
  for (std::size_t i = 0; i < stage.workers.size(); ++i) stage.workers[i].number = static_cast<std::uint32_t>(i + 1);
}

// Two nodes may have one name.
flow::WorkerSummary& worker_of(flow::StageSummary& stage, const v1::StageStatus& status) {
  auto found = std::ranges::find_if(stage.workers, [&](const flow::WorkerSummary& worker) {
    return worker.host == status.host() && worker.pid == status.pid();
  });
  if (found != stage.workers.end()) return *found;
  // By name, in whatever order they started.
  auto place = std::ranges::upper_bound(stage.workers, status.host(), {}, &flow::WorkerSummary::host);
  return *stage.workers.insert(place, flow::WorkerSummary{.host = status.host(), .pid = status.pid()});
}

// The whole of @all: what its workers did is added, and the largest is the largest of all.
void add(flow::StageSummary& stage, const v1::Exited& exited) {
  std::size_t workers = std::min(static_cast<std::size_t>(exited.workers_size()), kWorkersMax);
  if (!stage.workers.empty())
    for (std::size_t i = stage.workers.size(); i < workers; ++i)
      stage.workers.push_back({.number = static_cast<std::uint32_t>(i + 1)});
  for (std::size_t i = 0; i < std::min(stage.workers.size(), workers); ++i) {
    stage.workers[i].records_given = exited.workers(static_cast<int>(i)).given();
    stage.workers[i].records_written = exited.workers(static_cast<int>(i)).written();
  }
  if (exited.has_jobs())
    stage.jobs = flow::JobSummary{.started = exited.jobs().started(),
                                  .retried = exited.jobs().retried(),
                                  .dead_letters = exited.jobs().dead_letters(),
                                  .skipped = exited.jobs().skipped()};
  stage.io_known = exited.io_known() && (stage.io_known || !stage.end);
  stage.io_read_bytes += exited.io_read_bytes();
  stage.io_write_bytes += exited.io_write_bytes();
  stage.cpu_us += exited.cpu_us();
  stage.peak_memory_bytes = std::max<std::uint64_t>(stage.peak_memory_bytes, exited.peak_memory_bytes());
}

}  // namespace

ClusterReport::ClusterReport(const ClusterRunRequest& request, TimePoint start) : request_(request), start_(start) {
  summary_.name = request.run.name;
  summary_.rule = request.run.pipefail;
  for (const flow::Stage& stage : request.graph.stages)
    summary_.stages.push_back({.name = stage.name, .command = stage.command});
}

void ClusterReport::on_plan(const v1::FlowPlan& plan) {
  flow_id_ = plan.flow_id();
  for (const v1::PlannedStage& stage : plan.stages())
    if (stage.index() < summary_.stages.size() && summary_.stages[stage.index()].host.empty())
      note_place(stage, summary_.stages[stage.index()]);
  for (const v1::PlannedStage& stage : plan.stages())
    if (stage.index() < summary_.stages.size() && !is_everywhere(request_, stage.index()))
      note_workers(stage, summary_.stages[stage.index()]);
  if (!request_.dry_run && request_.exact) say_what_is_not_counted(plan);
  if (!request_.dry_run) return;
  plan_text_ = request_.json ? plan_as_json(plan) + "\n" : describe_plan(plan);
  for (const v1::PlanProblem& problem : plan.problems()) problems_.push_back(problem.message());
}

void ClusterReport::on_stage(const v1::StageStatus& status, TimePoint now) {
  if (status.index() >= summary_.stages.size()) return;
  flow::StageSummary& stage = summary_.stages[status.index()];
  if (status.output_known()) {
    if (request_.exact) stage.output_bytes = stage.output_bytes.value_or(0) + status.output_bytes();
    return;
  }
  bool one_of_many = is_everywhere(request_, status.index());
  if (one_of_many && stage.workers.size() >= kWorkersMax) return;
  if (one_of_many) worker_of(stage, status);
  if (!one_of_many && !status.host().empty()) stage.host = status.host();
  if (!one_of_many) stage.pid = status.pid();
  if (status.has_exited()) note_end(status, now);
}

// A link whose ends are on two hosts may meet others at both, and is counted there and here: once each record.
void ClusterReport::on_link_counts(const v1::LinkCounts& counts) {
  for (const v1::LinkCount& message : counts.links()) {
    flow::LinkSummary counted = link_summary_from(message);
    auto known = std::ranges::find_if(summary_.links, [&](const flow::LinkSummary& link) {
      return link.from == counted.from && link.to == counted.to && link.of_errors == counted.of_errors;
    });
    if (known == summary_.links.end()) {
      if (summary_.links.size() < kLinksMax) summary_.links.push_back(std::move(counted));
      continue;
    }
    known->bytes = std::min(known->bytes, counted.bytes);
    if (!known->records || (counted.records && *counted.records < *known->records)) known->records = counted.records;
    known->dropped += counted.dropped;
    known->spilled_most += counted.spilled_most;
    if (known->slow == flow::SlowPolicy::Kind::block) known->slow = counted.slow;
  }
}

void ClusterReport::note_end(const v1::StageStatus& status, TimePoint now) {
  flow::StageSummary& stage = summary_.stages[status.index()];
  flow::StageEnd end = stage_end_from(status.exited());
  add(stage, status.exited());
  if (is_everywhere(request_, status.index())) worker_of(stage, status).end = end;
  stage.end = stage.end ? flow::worse(end, *stage.end) : end;
  stage.duration = now - start_;
}

RunResult ClusterReport::show_plan(const v1::FlowEnded& end) const {
  int printed = print_to_stdout(plan_text_);
  for (const std::string& problem : problems_) say(problem);
  if (problems_.empty() && end.status() != 0) say(end.message());
  return {.status = problems_.empty() && end.status() == 0 ? printed : 1};
}

RunResult ClusterReport::show_end(const v1::FlowEnded& end, TimePoint now) {
  summary_.duration = now - start_;
  summary_.status = end.status();
  summary_.signal = end.signal();
  summary_.end = end_from(end);
  if (request_.background && end.end() == v1::FlowEnded::END_COMPLETED) return {};
  say_why(end);
  for (const std::string& sentence : flow::dead_letter_sentences(summary_, request_.run.records.dead_letters))
    say(sentence);
  for (const std::string& sentence : flow::drop_sentences(summary_)) say(sentence);
  if (request_.run.json_summary) write_stderr_line(to_json(summary_));
  bool signalled = summary_.end == flow::FlowEnd::signalled;
  return {.status = summary_.status, .signal = signalled ? summary_.signal : 0};
}

void ClusterReport::say_why(const v1::FlowEnded& end) const {
  bool lost = end.end() == v1::FlowEnded::END_LINK_LOST;
  bool not_started = end.end() == v1::FlowEnded::END_NOT_STARTED;
  if (lost || not_started) say(end.message());
  if (summary_.end == flow::FlowEnd::timed_out)
    say(fmt::format("timed out after {}; every stage was ended", format_duration(*request_.run.timeout)));
  bool completed = summary_.end == flow::FlowEnd::completed && !lost;
  if (completed && summary_.status != 0 && !request_.run.quiet)
    for (const std::string& sentence : flow::failure_sentences(summary_)) say(sentence);
  if (completed && summary_.status != 0 && !request_.run.quiet) say_what_stayed();
}

// A program that misses a file says so in words of its own; that it never left this host, only we know.
void ClusterReport::say_what_stayed() const {
  for (std::size_t i = 0; i < request_.files.stages.size() && i < summary_.stages.size(); ++i) {
    bool has_failed = summary_.stages[i].end && summary_.stages[i].end->status.shell_status() != 0;
    if (!has_failed || !summary_.stages[i].elsewhere) continue;
    for (const std::string& word : request_.files.stages[i].left_behind)
      say(fmt::format("{} names {}, which does not travel: only files do that it names one by one, or --ship adds",
                      flow::title_of_stage(summary_.stages[i].name, i), word));
  }
}

// Links between hosts count what they carry; a kernel pipe between neighbours on one host does not.
void ClusterReport::say_what_is_not_counted(const v1::FlowPlan& plan) const {
  for (std::size_t i = 0; i < summary_.stages.size(); ++i) {
    if (is_counted(i, plan)) continue;
    if (plan.is_graph())
      say(fmt::format(
          "--exact: what {} writes is not counted: of a graph over several hosts only that is which one link "
          "carries between them",
          flow::title_of_stage(summary_.stages[i].name, i)));
    else if (i + 1 < summary_.stages.size())
      say(fmt::format(
          "--exact: what {} writes is not counted: {} reads it on the same host, and of a flow "
          "over several hosts only the links between them are counted",
          flow::title_of_stage(summary_.stages[i].name, i), flow::title_of_stage(summary_.stages[i + 1].name, i + 1)));
  }
}

bool ClusterReport::is_counted(std::size_t stage, const v1::FlowPlan& plan) const {
  auto leaves = [&](const v1::PlannedLink& link) {
    return link.from() == static_cast<std::int32_t>(stage) && !link.of_errors();
  };
  auto carries = [&](const v1::PlannedLink& link) { return leaves(link) && !link.on_one_host(); };
  if (!plan.is_graph()) return std::ranges::any_of(plan.links(), carries);
  return std::ranges::count_if(plan.links(), leaves) == 1 && std::ranges::any_of(plan.links(), carries);
}

}  // namespace sluice::node
