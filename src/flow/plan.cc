#include "flow/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "flow/quoting.h"

namespace sluice::flow {
namespace {

// Columns of a command in the table.
constexpr std::size_t kCommandColumns = 60;
constexpr const char* kHere = "here";
// Tells a worker that its stdin is the socket of its stage (docs/protocol-workers.md).
constexpr const char* kWorkerVariable = "SLUICE_WORKER_FD=0";

void take_record_words(const StageWords& words, PlannedStage& stage) {
  stage.mode = words.worker    ? RecordMode::worker
               : words.each    ? RecordMode::each
               : words.map     ? RecordMode::map
               : words.workers ? RecordMode::spread
                               : RecordMode::none;
  if (stage.mode == RecordMode::none) return;
  stage.workers = words.workers.value_or(1);
  stage.framing = words.framing.value_or(RecordFraming::lines);
  stage.records_a_process = words.each.value_or(1);
  stage.ordered = words.ordered;
  if (words.by)
    if (auto key = RecordKey::read(*words.by)) stage.by = *std::move(key);  // read_stage_words has judged it
}

void place(const FlowGraph& graph, std::size_t first_stage, Plan& plan) {
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    const StageWords& words = graph.stages[i].words;
    PlannedStage& stage = plan.stages[i];
    auto reason = needs_cluster(words);
    if (!reason) reason = not_yet_runnable(words);
    if (reason) {
      stage.place = "?";
      stage.place_reason = fmt::format("{}", fmt::join(words.written, " "));
      stage.how = "?";
      plan.problems.push_back({first_stage + i, 125, fmt::format("stage {}: {}", first_stage + i + 1, *reason)});
      continue;
    }
    stage.place = kHere;
    take_record_words(words, stage);
    if (words.where.kind == Whereabouts::Kind::here)
      stage.place_reason = "@here";
    else
      stage.place_reason = i == 0 ? "beside the client" : fmt::format("beside stage {}", i);
  }
}

std::string workers_of(const PlannedStage& stage) {
  std::string workers = fmt::format("{} worker{}", stage.workers, stage.workers > 1 ? "s" : "");
  switch (stage.mode) {
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
  return fmt::format(
      "{}, a process for {}: ", workers,
      stage.records_a_process == 1 ? "each record" : fmt::format("every {} records", stage.records_a_process));
}

void take(ResolvedStage resolved, std::size_t index, const Shell& shell, PlannedStage& stage,
          std::vector<PlanProblem>& problems) {
  stage.how = workers_of(stage) + resolved.how;
  stage.program = std::move(resolved.program);
  if (resolved.problem) problems.push_back(std::move(*resolved.problem));
  if (stage.mode != RecordMode::each) return;
  auto text = resolved.in_shell ? std::optional(stage.program.arguments.size() - 1) : std::nullopt;
  stage.record_command = RecordCommand(stage.program.arguments, text);
  if (stage.record_command.takes_argument() && resolved.in_shell && shell.kind == ShellKind::other)
    problems.push_back(
        {index, 125,
         fmt::format("stage {}: '{{}}' can't be put into a text for {}, whose quotes are not known here; "
                     "leave --shell out, or read the record from stdin",
                     index + 1, shell.path)});
}

LinkCarrier carrier_of(const PlannedStage& from, const PlannedStage& to, bool exact) {
  if (from.workers > 0 || to.workers > 0) return LinkCarrier::records;
  return exact ? LinkCarrier::relay : LinkCarrier::kernel_pipe;
}

// What leads through us is guarded: if we die, the reader is ended before its stdin closes.
void pass_input(PlannedStage& stage) {
  if (runs_by_job(stage)) return;  // its streams are the jobs'
  stage.program.input = exec::Stream::passed;
  stage.program.guarded_input = true;
}

void pass_output(PlannedStage& stage) {
  if (!runs_by_job(stage)) stage.program.output = exec::Stream::passed;
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
      pass_output(from);
      pass_input(to);
    }
  }
  for (PlannedStage& stage : plan.stages) {
    stage.program.by_job = runs_by_job(stage);
    if (stage.mode == RecordMode::worker) stage.program.variables.emplace_back(kWorkerVariable);
  }
  if (plan.stages.front().workers > 0) pass_input(plan.stages.front());
  if (plan.stages.back().workers > 0) pass_output(plan.stages.back());
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

// What each stage promises, the weakest first.
enum class Promise { spread_with_losses, spread, filter, each, worker, map };

Promise promise_of(const PlannedStage& stage, bool losses_allowed) {
  switch (stage.mode) {
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

std::string describe_promise(const Plan& plan) {
  Promise weakest = Promise::map;
  std::size_t at = 0;
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    Promise promise = promise_of(plan.stages[i], plan.losses_allowed);
    if (i > 0 && promise >= weakest) continue;
    weakest = promise;
    at = i;
  }
  std::string failed = plan.has_dead_letters ? "goes to the dead letters" : "ends the flow";
  std::string_view order = plan.stages[at].ordered ? "in the order of the input" : "in any order";
  switch (weakest) {
    case Promise::filter:
      return "every byte in order; if a stage fails or dies, the flow fails";
    case Promise::spread:
      return "every record to one worker, in any order; if a stage fails or dies, or one of its workers, the flow "
             "fails";
    case Promise::spread_with_losses:
      return "every record to one worker, in any order; a worker that dies loses at most what it was given and has not "
             "answered, which is reported";
    case Promise::map:
      return fmt::format(
          "every record answered once, {}; what a worker that dies has not answered runs again; what "
          "fails for good {}",
          order, failed);
    case Promise::worker:
      return fmt::format(
          "what a worker wrote for a record goes on once, {}, when it says that the record is done; what one that dies "
          "has not said that of runs again; what fails for good {}",
          order, failed);
    case Promise::each:
      break;
  }
  return fmt::format(
      "the output of every record once, {}, of a process that exited with 0; a process that dies runs "
      "again; what fails for good {}",
      order, failed);
}

}  // namespace

Plan make_plan(const FlowGraph& graph, const PlanContext& context) {
  Plan plan{.losses_allowed = context.losses_allowed, .has_dead_letters = context.has_dead_letters};
  for (const Stage& stage : graph.stages)
    plan.stages.push_back(PlannedStage{.command = stage.command,
                                       .at_words = stage.words.written,
                                       .concurrency = stage.concurrency,
                                       .restart = stage.restart,
                                       .retries = stage.retries,
                                       .records_per_second = stage.records_per_second});
  place(graph, context.first_stage, plan);
  Resolver resolver(context);
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    std::size_t index = context.first_stage + i;
    if (plan.stages[i].place == kHere)
      take(resolver.resolve(graph.stages[i], index), index, context.shell, plan.stages[i], plan.problems);
  }
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
  text += fmt::format("promise: {}\n", describe_promise(plan));
  return text;
}

}  // namespace sluice::flow
