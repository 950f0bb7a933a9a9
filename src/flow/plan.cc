#include "flow/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "flow/plan_links.h"
#include "flow/quoting.h"

namespace sluice::flow {
namespace {

// Columns of a command in the table.
constexpr std::size_t kCommandColumns = 60;
constexpr const char* kHere = "here";

void take_record_words(const StageWords& words, PlannedStage& stage) {
  stage.mode = mode_of(words);
  if (stage.mode == RecordMode::none) return;
  stage.workers = words.workers.value_or(1);
  stage.framing = words.framing.value_or(RecordFraming::lines);
  stage.records_a_process = words.each.value_or(1);
  stage.ordered = words.ordered;
  stage.role = words.role;
  stage.by_hand_alone = words.by_hand_alone;
  if (words.by)
    if (auto key = RecordKey::read(*words.by)) stage.by = *std::move(key);  // read_stage_words has judged it
}

std::string neighbour_of(const FlowGraph& graph, std::size_t stage) {
  auto left = left_neighbour(graph, stage);
  return left ? title_of_stage(graph.stages[*left].name, *left) : "the client";
}

void place(const FlowGraph& graph, Plan& plan) {
  Wiring wiring = wire(graph);
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    const StageWords& words = graph.stages[i].words;
    PlannedStage& stage = plan.stages[i];
    if (stage.elsewhere) continue;
    auto reason = needs_cluster(words);
    if (!reason) reason = wiring.output_at_junction(i) ? not_yet_built(words) : not_yet_runnable(words);
    if (reason) {
      stage.place = "?";
      stage.place_reason = fmt::format("{}", fmt::join(words.written, " "));
      stage.how = "?";
      plan.problems.push_back({stage.number, 125, fmt::format("{}: {}", title_of(plan, i), *reason)});
      continue;
    }
    stage.place = kHere;
    take_record_words(words, stage);
    bool named = words.where.kind == Whereabouts::Kind::here;
    stage.place_reason = named ? "@here" : "beside " + neighbour_of(graph, i);
  }
}

void take(ResolvedStage resolved, const StageWords& words, std::size_t index, const Shell& shell, PlannedStage& stage,
          std::vector<PlanProblem>& problems) {
  stage.how = describe_workers(words) + resolved.how;
  stage.program = std::move(resolved.program);
  if (resolved.problem) problems.push_back(std::move(*resolved.problem));
  if (stage.mode != RecordMode::each) return;
  auto text = resolved.in_shell ? std::optional(stage.program.arguments.size() - 1) : std::nullopt;
  stage.record_command = RecordCommand(stage.program.arguments, text);
  if (stage.record_command.takes_argument() && resolved.in_shell && shell.kind == ShellKind::other)
    problems.push_back({index, 125,
                        fmt::format("{}: '{{}}' can't be put into a text for {}, whose quotes are not known here; "
                                    "leave --shell out, or read the record from stdin",
                                    title_of_stage(stage.name, index), shell.path)});
}

// What each stage promises, the weakest first.
enum class Promise { spread_with_losses, spread, filter, each, worker, map };

Promise weight_of(RecordMode mode, bool losses_allowed) {
  switch (mode) {
    case RecordMode::none:
      return Promise::filter;
    case RecordMode::spread:
      return losses_allowed ? Promise::spread_with_losses : Promise::spread;
    case RecordMode::map:
      return Promise::map;
    case RecordMode::worker:
      return Promise::worker;
    case RecordMode::each:
      break;
  }
  return Promise::each;
}

FlowGraph graph_of(const Plan& plan) {
  FlowGraph graph;
  for (const PlannedStage& stage : plan.stages) {
    Stage& named = graph.stages.emplace_back();
    named.name = stage.name;
  }
  for (const PlannedLink& planned : plan.links) graph.links.push_back(planned.link);
  return graph;
}

std::string describe_promise(const Plan& plan) {
  std::vector<PromisedStage> stages;
  for (const PlannedStage& stage : plan.stages) stages.push_back({.mode = stage.mode, .ordered = stage.ordered});
  return promise_of(stages, {.losses_allowed = plan.losses_allowed, .has_dead_letters = plan.has_dead_letters});
}

}  // namespace

RecordMode mode_of(const StageWords& words) {
  return words.worker    ? RecordMode::worker
         : words.each    ? RecordMode::each
         : words.map     ? RecordMode::map
         : words.workers ? RecordMode::spread
                         : RecordMode::none;
}

namespace {

// Of a flow whose weakest stage is one of bytes.
std::string promise_of_bytes(const std::vector<PromisedStage>& stages, bool over_hosts) {
  auto any = [&](auto is) { return std::ranges::any_of(stages, is); };
  bool records = any([](const PromisedStage& stage) { return stage.mode != RecordMode::none; });
  bool mixed = any([](const PromisedStage& stage) { return stage.mode != RecordMode::none && !stage.ordered; });
  bool merged = any([](const PromisedStage& stage) { return stage.on_every_node; });
  std::string_view what = merged    ? "every line whole, in any order behind a stage on every node"
                          : mixed   ? "every record once, in any order behind stages of many workers"
                          : records ? "every record once, in the order of the input"
                                    : "every byte in order";
  std::string_view who = !over_hosts ? (records ? "stage of bytes" : "stage")
                         : records   ? "stage of bytes, a link of it or its host"
                                     : "stage, a link or a host";
  return fmt::format("{}; if a {} fails or dies, the flow fails", what, who);
}

std::string count_of_workers(const StageWords& words) {
  if (words.by_hand_alone) return fmt::format("workers of the role '{}'", words.role);
  std::uint32_t count = words.workers.value_or(1);
  std::string workers = fmt::format("{} worker{}", count, count > 1 ? "s" : "");
  return words.role.empty() ? workers : fmt::format("{} and those of the role '{}'", workers, words.role);
}

}  // namespace

std::string describe_workers(const StageWords& words) {
  std::string workers = count_of_workers(words);
  switch (mode_of(words)) {
    case RecordMode::none:
      return "";
    case RecordMode::spread:
      return workers + ": ";
    case RecordMode::map:
      return workers + ", a record out for each in: ";
    case RecordMode::worker:
      return workers + " of the library: ";
    case RecordMode::each:
      break;
  }
  std::uint32_t records = words.each.value_or(1);
  return fmt::format("{}, a process for {}: ", workers,
                     records == 1 ? "each record" : fmt::format("every {} records", records));
}

std::string promise_of(const std::vector<PromisedStage>& stages, const PromiseContext& context) {
  auto weaker = std::ranges::min_element(
      stages, {}, [&](const PromisedStage& stage) { return weight_of(stage.mode, context.losses_allowed); });
  std::string failed = context.has_dead_letters ? "goes to the dead letters" : "ends the flow";
  std::string_view order = weaker->ordered ? "in the order of the input" : "in any order";
  std::string_view host = context.over_hosts ? ", or whose node does," : "";
  switch (weight_of(weaker->mode, context.losses_allowed)) {
    case Promise::filter:
      return promise_of_bytes(stages, context.over_hosts);
    case Promise::spread:
      return fmt::format(
          "every record to one worker, in any order; if a stage fails or dies, or one of its workers{}, the flow fails",
          context.over_hosts ? " or their nodes" : "");
    case Promise::spread_with_losses:
      return fmt::format(
          "every record to one worker, in any order; a worker that dies{} loses at most what it was given and has not "
          "answered, which is reported",
          host);
    case Promise::map:
      return fmt::format(
          "every record answered once, {}; what a worker that dies{} has not answered runs again; what fails for good "
          "{}",
          order, host, failed);
    case Promise::worker:
      return fmt::format(
          "what a worker wrote for a record goes on once, {}, when it says that the record is done; what one that dies "
          "has not said that of runs again; what fails for good {}",
          order, failed);
    case Promise::each:
      break;
  }
  return fmt::format(
      "the output of every record once, {}, of a process that exited with 0; a process that dies{} runs again; what "
      "fails for good {}",
      order, host, failed);
}

Plan make_plan(const FlowGraph& graph, const PlanContext& context) {
  Plan plan{.losses_allowed = context.losses_allowed, .has_dead_letters = context.has_dead_letters};
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    const Stage& stage = graph.stages[i];
    plan.stages.push_back(PlannedStage{.name = stage.name,
                                       .number = stage.number.value_or(i),
                                       .elsewhere = stage.elsewhere,
                                       .command = stage.command,
                                       .at_words = stage.words.written,
                                       .concurrency = stage.concurrency,
                                       .restart = stage.restart,
                                       .retries = stage.retries,
                                       .records_per_second = stage.records_per_second});
  }
  place(graph, plan);
  Resolver resolver(context);
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    std::size_t index = plan.stages[i].number;
    if (plan.stages[i].by_hand_alone)
      plan.stages[i].how = describe_workers(graph.stages[i].words) + kByHand;
    else if (plan.stages[i].place == kHere)
      take(resolver.resolve(graph.stages[i], index), graph.stages[i].words, index, context.shell, plan.stages[i],
           plan.problems);
  }
  join(graph, context.exact, plan);
  std::ranges::stable_sort(plan.problems, {}, &PlanProblem::stage);
  return plan;
}

std::string describe_plan(const Plan& plan) {
  std::size_t name = 5, place = 5, reason = 3, how = 3;
  for (const PlannedStage& stage : plan.stages) {
    name = std::max(name, stage.name.size());
    place = std::max(place, stage.place.size());
    reason = std::max(reason, stage.place_reason.size());
    how = std::max(how, stage.how.size());
  }
  std::string text = fmt::format("{:>{}}  {:{}}  {:{}}  {:{}}  {}\n", "STAGE", name, "WHERE", place, "WHY", reason,
                                 "HOW", how, "COMMAND");
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    const PlannedStage& stage = plan.stages[i];
    text += fmt::format("{:>{}}  {:{}}  {:{}}  {:{}}  {}\n", label_of(plan, i), name, stage.place, place,
                        stage.place_reason, reason, stage.how, how, on_one_line(stage.command, kCommandColumns));
  }
  text += describe_links(plan);
  bool all_here = std::ranges::all_of(plan.stages, [](const PlannedStage& stage) { return stage.place == kHere; });
  text += all_here ? "ships: nothing; every stage runs on this machine\n"
                   : "ships: not known before every stage has a place\n";
  text += fmt::format("promise: {}{}\n", describe_promise(plan), describe_exceptions(graph_of(plan)));
  return text;
}

}  // namespace sluice::flow
