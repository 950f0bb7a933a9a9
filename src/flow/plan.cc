#include "flow/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "exec/program_lookup.h"
#include "flow/quoting.h"

namespace sluice::flow {
namespace {

// Columns of a command in the table.
constexpr std::size_t kCommandColumns = 60;
constexpr const char* kHere = "here";
constexpr int kNotExecutable = 126;  // POSIX XCU 2.8.2
constexpr int kNotFound = 127;

void place(const FlowGraph& graph, Plan& plan) {
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    const StageWords& words = graph.stages[i].words;
    PlannedStage& stage = plan.stages[i];
    if (auto reason = not_yet_runnable(words)) {
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

class Resolver final {
 public:
  explicit Resolver(const PlanContext& context)
      : context_(context),
        search_path_(context.environment.get("PATH").value_or(exec::kDefaultPath)),
        customised_(shell_is_customised(context.shell, context.environment)) {}

  void resolve(const Stage& stage, std::size_t index, Plan& plan) const {
    PlannedStage& planned = plan.stages[index];
    std::string why_shell = reason_for_shell(stage);
    if (!why_shell.empty()) {
      planned.how = fmt::format("{}: {}", shell_name(), why_shell);
      planned.program.path = context_.shell.path;
      planned.program.arguments = shell_arguments(context_.shell, stage.shell_text, context_.inner_pipefail);
      return;
    }
    const std::string& name = stage.plain_words->front();
    planned.program.arguments = *stage.plain_words;
    planned.program.script_shell = context_.shell.path;
    planned.program.error = stage.error_joins_output ? exec::Stream::as_stdout : exec::Stream::inherited;
    auto path = exec::find_program(name, search_path_);
    if (path) {
      planned.how = "exec " + *path;
      planned.program.path = *path;
      return;
    }
    planned.how = "exec ?";
    plan.problems.push_back(lookup_problem(index, name, path.error()));
  }

 private:
  std::string reason_for_shell(const Stage& stage) const {
    if (stage.without_shell) return {};
    if (!stage.plain_words) return "more than plain words";
    if (customised_) return "BASH_ENV, SHELLOPTS or BASHOPTS is set";
    const std::string& name = stage.plain_words->front();
    if (!shell_runs_itself(context_.shell, name, context_.environment)) return {};
    // A quoted keyword is a command's name; a quoted builtin is still the builtin.
    bool known_grammar = context_.shell.kind != ShellKind::other;
    if (known_grammar && stage.first_word_quoted && is_shell_keyword(name)) return {};
    return fmt::format("'{}' is its own", name);
  }

  std::string_view shell_name() const {
    std::string_view path = context_.shell.path;
    return path.substr(path.rfind('/') + 1);
  }

  static PlanProblem lookup_problem(std::size_t index, const std::string& name, exec::LookupError error) {
    bool is_path = name.find('/') != std::string::npos;
    if (error == exec::LookupError::not_executable)
      return {index, kNotExecutable,
              fmt::format("stage {}: {}: found, but it may not be executed; nothing was started", index + 1, name)};
    return {index, kNotFound,
            fmt::format("stage {}: {}: {}; nothing was started", index + 1, name,
                        is_path ? "no such file" : "command not found in PATH")};
  }

  const PlanContext& context_;
  std::string_view search_path_;
  bool customised_;
};

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
    if (plan.stages[i].place == kHere) resolver.resolve(graph.stages[i], i, plan);
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
