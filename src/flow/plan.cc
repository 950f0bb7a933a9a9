#include "flow/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "flow/quoting.h"

namespace sluice::flow {
namespace {

// Columns of a command in the table.
constexpr std::size_t kCommandColumns = 60;
constexpr const char* kHere = "here";

void place(const FlowGraph& graph, Plan& plan) {
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    const StageWords& words = graph.stages[i].words;
    PlannedStage& stage = plan.stages[i];
    auto reason = needs_cluster(words);
    if (!reason) reason = not_yet_runnable(words);
    if (reason) {
      stage.place = "?";
      stage.place_reason = fmt::format("{}", fmt::join(words.written, " "));
      stage.how = "?";
      plan.problems.push_back({i, 125, fmt::format("stage {}: {}", i + 1, *reason)});
      continue;
    }
    stage.place = kHere;
    stage.workers = words.workers.value_or(0);
    stage.framing = words.framing.value_or(RecordFraming::lines);
    if (words.where.kind == Whereabouts::Kind::here)
      stage.place_reason = "@here";
    else
      stage.place_reason = i == 0 ? "beside the client" : fmt::format("beside stage {}", i);
  }
}

void take(ResolvedStage resolved, PlannedStage& stage, std::vector<PlanProblem>& problems) {
  stage.how = std::move(resolved.how);
  if (stage.workers > 0)
    stage.how = fmt::format("{} worker{}: {}", stage.workers, stage.workers > 1 ? "s" : "", stage.how);
  stage.program = std::move(resolved.program);
  if (resolved.problem) problems.push_back(std::move(*resolved.problem));
}

LinkCarrier carrier_of(const PlannedStage& from, const PlannedStage& to, bool exact) {
  if (from.workers > 0 || to.workers > 0) return LinkCarrier::records;
  return exact ? LinkCarrier::relay : LinkCarrier::kernel_pipe;
}

// What leads through us is guarded: if we die, the reader is ended before its stdin closes.
void pass_input(PlannedStage& stage) {
  stage.program.input = exec::Stream::passed;
  stage.program.guarded_input = true;
}

void join(const FlowGraph& graph, bool exact, Plan& plan) {
  for (const Link& link : graph.links) {
    PlannedStage &from = plan.stages[link.from], &to = plan.stages[link.to];
    LinkCarrier carrier = carrier_of(from, to, exact);
    plan.links.push_back({link, carrier});
    if (carrier == LinkCarrier::kernel_pipe) {
      from.program.output = exec::Stream::neighbour;
      to.program.input = exec::Stream::neighbour;
    } else {
      from.program.output = exec::Stream::passed;
      pass_input(to);
    }
  }
  if (plan.stages.front().workers > 0) pass_input(plan.stages.front());
  if (plan.stages.back().workers > 0) plan.stages.back().program.output = exec::Stream::passed;
}

std::string_view arrow(LinkCarrier carrier) {
  switch (carrier) {
    case LinkCarrier::kernel_pipe:
      return "->";
    case LinkCarrier::relay:
      return "=relay=>";
    case LinkCarrier::records:
      return "=records=>";
  }
  return "->";
}

std::string describe_links(const Plan& plan) {
  bool spread_first = plan.stages.front().workers > 0, spread_last = plan.stages.back().workers > 0;
  std::string text =
      fmt::format("links: stdin {} 1", arrow(spread_first ? LinkCarrier::records : LinkCarrier::kernel_pipe));
  for (const PlannedLink& link : plan.links) text += fmt::format(" {} {}", arrow(link.carrier), link.link.to + 1);
  text += fmt::format(" {} stdout", arrow(spread_last ? LinkCarrier::records : LinkCarrier::kernel_pipe));
  bool pipes_alone =
      std::ranges::all_of(plan.links, [](const PlannedLink& link) { return link.carrier == LinkCarrier::kernel_pipe; });
  if (!plan.links.empty() && pipes_alone) text += ", by kernel pipes";
  return text + "\n";
}

// Of the weakest stage.
std::string_view promise_of(const Plan& plan) {
  bool spreads = std::ranges::any_of(plan.stages, [](const PlannedStage& stage) { return stage.workers > 0; });
  if (!spreads) return "every byte in order; if a stage fails or dies, the flow fails";
  if (plan.losses_allowed)
    return "every record to one worker, in any order; a worker that dies loses at most what it was given and has not "
           "answered, which is reported";
  return "every record to one worker, in any order; if a stage fails or dies, or one of its workers, the flow fails";
}

}  // namespace

Plan make_plan(const FlowGraph& graph, const PlanContext& context) {
  Plan plan{.losses_allowed = context.losses_allowed};
  for (const Stage& stage : graph.stages)
    plan.stages.push_back(PlannedStage{.command = stage.command, .at_words = stage.words.written});
  place(graph, plan);
  Resolver resolver(context);
  for (std::size_t i = 0; i < graph.stages.size(); ++i)
    if (plan.stages[i].place == kHere) take(resolver.resolve(graph.stages[i], i), plan.stages[i], plan.problems);
  join(graph, context.exact, plan);
  std::ranges::stable_sort(plan.problems, {}, &PlanProblem::stage);
  return plan;
}

std::string describe_plan(const Plan& plan) {
  std::size_t place = 5, reason = 3, how = 3;
  for (const PlannedStage& stage : plan.stages) {
    place = std::max(place, stage.place.size());
    reason = std::max(reason, stage.place_reason.size());
    how = std::max(how, stage.how.size());
  }
  std::string text =
      fmt::format("{:>5}  {:{}}  {:{}}  {:{}}  {}\n", "STAGE", "WHERE", place, "WHY", reason, "HOW", how, "COMMAND");
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const PlannedStage& stage = plan.stages[i];
    text += fmt::format("{:>5}  {:{}}  {:{}}  {:{}}  {}\n", i + 1, stage.place, place, stage.place_reason, reason,
                        stage.how, how, on_one_line(stage.command, kCommandColumns));
  }
  text += describe_links(plan);
  bool all_here = std::ranges::all_of(plan.stages, [](const PlannedStage& stage) { return stage.place == kHere; });
  text += all_here ? "ships: nothing; every stage runs on this machine\n"
                   : "ships: not known before every stage has a place\n";
  text += fmt::format("promise: {}\n", promise_of(plan));
  return text;
}

}  // namespace sluice::flow
