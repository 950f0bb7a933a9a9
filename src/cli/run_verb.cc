#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <expected>
#include <filesystem>
#include <optional>

#include "cli/completion.h"
#include "cli/flow_file_input.h"
#include "cli/run_flow_file.h"
#include "cli/run_on_cluster.h"
#include "cli/run_options.h"
#include "cli/verbs.h"
#include "exec/entry_state.h"
#include "exec/environment.h"
#include "exec/program_lookup.h"
#include "exec/spawner_client.h"
#include "flow/flow_summary.h"
#include "flow/graph_wiring.h"
#include "flow/pipeline_text.h"
#include "flow/plan.h"
#include "node/cluster_run.h"
#include "node/embedded_run.h"
#include "node/signals.h"

namespace sluice::cli {
namespace {

using node::kRefused;

// The current folder as cd(1) would spell it, symbolic links as they were typed; the physical path where that spelling
// does not lead there.
std::string spelled_folder(const std::string& directory, const exec::Environment& environment) {
  namespace fs = std::filesystem;
  fs::path before(environment.get("PWD").value_or(""));
  fs::path spelled = (before / directory).lexically_normal();
  std::error_code ignored;
  if (spelled.is_absolute() && fs::equivalent(spelled, ".", ignored)) return spelled;
  return fs::current_path(ignored);
}

// A program that trusts PWD must not find the old folder there.
std::string enter(const std::string& directory, exec::Environment& environment) {
  if (directory.empty()) return {};
  if (::chdir(directory.c_str()) != 0)
    return fmt::format("cannot change to the folder '{}': {}", directory, std::strerror(errno));
  std::string folder = spelled_folder(directory, environment);
  if (auto before = environment.get("PWD")) environment.set("OLDPWD", std::string(*before));
  environment.set("PWD", folder);
  return {};
}

exec::Environment stage_environment(const RunOptions& options) {
  exec::Environment environment = exec::Environment::of_this_process();
  environment.erase("_");  // each program gets its own
  for (const std::string& variable : options.environment) {
    std::size_t equals = variable.find('=');
    if (equals == std::string::npos)
      environment.erase(variable);
    else
      environment.set(variable.substr(0, equals), variable.substr(equals + 1));
  }
  return environment;
}

int show_plan(const flow::Plan& plan, bool json) {
  int printed = print(json ? to_json(plan) + "\n" : describe_plan(plan));
  for (const flow::PlanProblem& problem : plan.problems) node::say(problem.message);
  return plan.problems.empty() ? printed : kFailed;
}

int run_plan(flow::Plan plan, RunOptions options, exec::Environment environment, exec::SpawnerClient spawner,
             const exec::EntryState& entry) {
  if (!plan.problems.empty()) {
    for (const flow::PlanProblem& problem : plan.problems) node::say(problem.message);
    int status = plan.problems.front().status;
    if (options.json) node::write_stderr_line(to_json(not_started(options.name, plan, status)));
    return status;
  }
  node::RunRequest request{.plan = std::move(plan),
                           .environment = std::move(environment),
                           .directory = std::move(options.directory),
                           .name = std::move(options.name),
                           .pipefail = options.pipefail,
                           .grace = options.grace,
                           .timeout = options.timeout,
                           .stall_timeout = options.stall_timeout,
                           .keep = options.keep,
                           .progress = options.progress,
                           .json_summary = options.json,
                           .mark_stderr = options.mark_stderr,
                           .quiet = options.quiet,
                           .exact = options.exact,
                           .records = record_settings(options.records)};
  node::RunResult result = node::run_embedded(std::move(request), std::move(spawner), entry);
  if (result.signal != 0) node::die_by(result.signal);
  return result.status;
}

using Spawner = std::expected<exec::SpawnerClient, int>;

// Without an `@` there is no word that places a stage. A flow of which no stage runs here needs no spawner.
bool may_run_elsewhere(const Arguments& arguments) {
  return std::ranges::any_of(arguments,
                             [](std::string_view argument) { return argument.find('@') != std::string_view::npos; });
}

std::optional<std::string> not_yet_runnable(const flow::FlowGraph& graph) {
  flow::Wiring wiring = flow::wire(graph);
  for (std::size_t i = 0; i < graph.stages.size(); ++i)
    if (auto reason = wiring.output_at_junction(i) ? flow::not_yet_built(graph.stages[i].words)
                                                   : flow::not_yet_runnable(graph.stages[i].words))
      return fmt::format("{}: {}", flow::title_of_stage(graph.stages[i].name, i), *reason);
  return std::nullopt;
}

// Workers that are started by hand come by way of a node.
std::optional<std::string> needs_a_node(const flow::FlowGraph& graph) {
  for (std::size_t i = 0; i < graph.stages.size(); ++i)
    if (!graph.stages[i].words.role.empty())
      return fmt::format(
          "{} has the role '{}', whose workers join through a node, and none was found; `sluice start` starts one, "
          "--node names one",
          flow::title_of_stage(graph.stages[i].name, i), graph.stages[i].words.role);
  return std::nullopt;
}

}  // namespace

int run_verb(const Arguments& arguments) {
  if (asks_for_completion(arguments)) return complete_run_options(Arguments(arguments.begin() + 1, arguments.end()));
  exec::EntryState entry = exec::EntryState::capture();
  // Forked before anything is loaded: the smaller we are, the less the kernel copies.
  std::optional<Spawner> early;
  if (!may_run_elsewhere(arguments)) early.emplace(exec::SpawnerClient::fork_spawner(entry));
  auto read = read_run_options(arguments);
  if (!read) return refuse(kRefused, read.error());
  if (auto* help = std::get_if<HelpText>(&*read)) return print(help->text);
  RunOptions options = std::get<RunOptions>(std::move(*read));
  int refused = options.dry_run ? kFailed : kRefused;
  for (const std::string& reason : options.not_yet)
    return refuse(refused, fmt::format("run: {}, which this version does not have yet", reason));
  // Its name is one of the folder that we are called in, whatever --cwd says.
  const std::string& file = options.file;
  std::expected<std::string, std::string> file_text;
  if (!file.empty()) file_text = read_flow_text(file);
  if (!file_text) return refuse(refused, "run: " + file_text.error());
  std::string hint = hint_of_flow_file(options.text);

  exec::Environment environment = stage_environment(options);
  if (std::string problem = enter(options.directory, environment); !problem.empty()) return refuse(refused, problem);
  auto shell = flow::find_shell(options.shell, environment.get("PATH").value_or(exec::kDefaultPath));
  if (!shell) {
    bool is_setting = options.shell == options.settings.text("shell");
    return refuse(refused, (is_setting ? options.settings.origin("shell") + ": " : "") + shell.error());
  }
  // A word that is no other may be the name of a node that only the cluster knows.
  bool cluster = cluster_can_be_found(options);
  flow::ShellDialect dialect = flow::shell_dialect(*shell, environment);
  std::expected<flow::FlowGraph, std::string> graph;
  if (!file.empty()) {
    auto read_flow = read_file_flow(*file_text, options, dialect);
    if (!read_flow) return read_flow.error();
    graph = *std::move(read_flow);
  } else if (options.command) {
    graph = flow::single_command(*options.command);
  } else {
    graph = flow::read_pipeline_text(options.text, {.names = {}, .others_too = cluster}, dialect);
  }
  if (!graph) return refuse(refused, graph.error());
  if (options.background && !cluster)
    return refuse(refused,
                  "run: --background needs a node that goes on when this command has returned, and none was found; "
                  "`sluice start` starts one");
  if (auto problem = needs_a_node(*graph); problem && !cluster) return refuse(refused, *problem);
  if (auto idle = without_use(options.records, *graph)) return refuse(refused, *idle);
  if (options.background || (cluster && node::needs_cluster(*graph, names_a_node(options)))) {
    if (auto problem = not_yet_runnable(*graph)) return refuse(refused, *problem);
    return run_on_cluster(std::move(*graph), std::move(options), std::move(environment), entry);
  }
  for (const std::string& shipped : options.ship)
    return refuse(refused,
                  fmt::format("run: --ship {}: no stage runs elsewhere; leave it out, or name a node", shipped));
  flow::PlanContext context{.shell = std::move(*shell),
                            .environment = environment,
                            .inner_pipefail = options.pipefail != flow::PipefailRule::last,
                            .exact = options.exact,
                            .losses_allowed = options.records.losses_allowed,
                            .has_dead_letters = !options.records.dead_letters.empty()};
  flow::Plan plan = flow::make_plan(*graph, context);
  if (!hint.empty() && !plan.problems.empty()) plan.problems.front().message += "; " + hint;
  if (options.dry_run) return show_plan(plan, options.json);
  Spawner spawner = early ? *std::move(early) : exec::SpawnerClient::fork_spawner(entry);
  if (!spawner) return refuse(kRefused, no_spawner(spawner.error()));
  return run_plan(std::move(plan), std::move(options), std::move(environment), std::move(*spawner), entry);
}

}  // namespace sluice::cli
