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
    if (words.where.kind == Whereabouts::Kind::here)
      stage.place_reason = "@here";
    else
      stage.place_reason = i == 0 ? "beside the client" : fmt::format("beside stage {}", i);
  }
}

void take(ResolvedStage resolved, PlannedStage& stage, std::vector<PlanProblem>& problems) {
  stage.how = std::move(resolved.how);
  stage.program = std::move(resolved.program);
  if (resolved.problem) problems.push_back(std::move(*resolved.problem));
}

void join(const FlowGraph& graph, bool exact, Plan& plan) {
  for (const Link& link : graph.links) {
    plan.links.push_back({link, exact ? LinkCarrier::relay : LinkCarrier::kernel_pipe});
    plan.stages[link.from].program.output = exact ? exec::Stream::passed : exec::Stream::neighbour;
    plan.stages[link.to].program.input = exact ? exec::Stream::passed : exec::Stream::neighbour;
    plan.stages[link.to].program.guarded_input = exact;
  }
}

}  // namespace

Plan make_plan(const FlowGraph& graph, const PlanContext& context) {
  Plan plan;
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
  text += "links: stdin -> 1";
  for (const PlannedLink& link : plan.links)
    text += fmt::format(" {} {}", link.carrier == LinkCarrier::relay ? "=relay=>" : "->", link.link.to + 1);
  text += " -> stdout";
  if (!plan.links.empty() && plan.links.front().carrier == LinkCarrier::kernel_pipe) text += ", by kernel pipes";
  bool all_here = std::ranges::all_of(plan.stages, [](const PlannedStage& stage) { return stage.place == kHere; });
  text += all_here ? "\nships: nothing; every stage runs on this machine\n"
                   : "\nships: not known before every stage has a place\n";
  text += "promise: every byte in order; if a stage fails or dies, the flow fails\n";
  return text;
}

}  // namespace sluice::flow
