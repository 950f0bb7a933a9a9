#include "node/part_launch.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <utility>

#include "base/pipe.h"
#include "exec/program_lookup.h"
#include "flow/resolve.h"
#include "flow/shell.h"
#include "node/flow_messages.h"
#include "sluice/v1/host.pb.h"

namespace sluice::node {

// --- finding the programs -----------------------------------------------------------------------------------------

namespace {

// A look takes no files over: what will be there then is known.
void allow_for_files(const v1::Prepare& prepare, const flow::Stage& stage, std::size_t index,
                     flow::ResolvedStage& resolved) {
  if (!resolved.problem || !stage.plain_words) return;
  const std::string& name = stage.plain_words->front();
  std::string path = std::filesystem::path(name).lexically_normal();
  auto file = std::ranges::find(prepare.files(), path, &v1::ShippedFile::path);
  if (file == prepare.files().end()) return;
  resolved.how = "exec " + name;
  resolved.problem.reset();
  if (!file->executable())
    resolved.problem = flow::PlanProblem{index, 126,
                                         fmt::format("{}: {}: found, but it may not be executed; nothing was started",
                                                     flow::title_of_stage(stage.name, index), name)};
}

v1::StageHow how_of(const flow::ResolvedStage& resolved, std::uint32_t index) {
  v1::StageHow how;
  how.set_index(index);
  how.set_how(resolved.how);
  if (resolved.problem) {
    how.set_problem(resolved.problem->message);
    how.set_problem_status(resolved.problem->status);
  }
  return how;
}

bool has_records(const v1::Prepare& prepare) {
  return std::ranges::any_of(prepare.stages(), [](const v1::StageText& text) { return takes_records(text); });
}

std::vector<flow::Link> inner_links(const v1::Prepare& prepare) {
  std::map<std::uint32_t, std::size_t> place;
  for (const v1::StageText& stage : prepare.stages()) place.emplace(stage.index(), place.size());
  std::vector<flow::Link> links;
  for (const v1::StageLink& message : prepare.links()) {
    flow::Link link = link_from(message);
    auto from = place.find(message.from()), to = place.find(message.to());
    if (from == place.end() || to == place.end() || from->second >= to->second) continue;
    link.from = from->second;
    link.to = to->second;
    links.push_back(link);
  }
  return links;
}

// The stages of the part, and behind them the streams from others and to them, each as a stage that is elsewhere.
class PartGraphMaker final {
 public:
  explicit PartGraphMaker(const v1::Prepare& prepare) : prepare_(prepare) {}

  std::expected<flow::FlowGraph, std::string> make() {
    for (const v1::StageText& text : prepare_.stages()) {
      auto stage = stage_from(text);
      if (!stage) return std::unexpected("a stage without a command, or with words that are unknown here");
      graph_.stages.push_back(*std::move(stage));
    }
    graph_.links = inner_links(prepare_);
    graph_.ends.emplace();
    if (prepare_.has_reads_stdin()) graph_.ends->reads_stdin = place_of(prepare_.reads_stdin());
    for (std::uint32_t stage : prepare_.write_stdout())
      if (auto place = place_of(stage)) graph_.ends->write_stdout.push_back(*place);
    for (const v1::PartStream& stream : prepare_.inputs())
      if (!add_input(stream)) return damaged();
    for (const v1::PartStream& stream : prepare_.outputs())
      if (!add_output(stream)) return damaged();
    return std::move(graph_);
  }

 private:
  static std::unexpected<std::string> damaged() {
    return std::unexpected(std::string("the description of a link is damaged"));
  }

  std::optional<std::size_t> place_of(std::uint32_t stage) const {
    for (int i = 0; i < prepare_.stages_size(); ++i)
      if (prepare_.stages(i).index() == stage) return static_cast<std::size_t>(i);
    return std::nullopt;
  }

  bool add_input(const v1::PartStream& stream) {
    std::size_t from = graph_.stages.size();
    graph_.stages.push_back(stage_elsewhere(stream, true));
    if (!stream.has_to()) graph_.ends->write_stdout.push_back(from);
    if (!stream.has_to()) return true;
    auto to = place_of(stream.to());
    if (to) graph_.links.push_back({.from = from, .to = *to, .of_errors = stream.of_errors()});
    return to.has_value();
  }

  bool add_output(const v1::PartStream& stream) {
    auto from = place_of(stream.from());
    if (!stream.has_from() || !from) return false;
    graph_.links.push_back(
        {.from = *from, .to = graph_.stages.size(), .of_errors = stream.of_errors(), .slow = slow_from(stream.slow())});
    graph_.stages.push_back(stage_elsewhere(stream, false));
    return true;
  }

  const v1::Prepare& prepare_;
  flow::FlowGraph graph_;
};

std::expected<ResolvedPart, std::string> plan_part(const v1::Prepare& prepare, flow::PlanContext context) {
  auto graph = PartGraphMaker(prepare).make();
  if (!graph) return std::unexpected(graph.error());
  context.losses_allowed = prepare.records().losses_allowed();
  ResolvedPart part;
  part.plan = flow::make_plan(*graph, context);
  for (int i = 0; i < prepare.stages_size(); ++i) {
    std::uint32_t index = prepare.stages(i).index();
    const flow::PlannedStage& planned = part.plan->stages[static_cast<std::size_t>(i)];
    flow::ResolvedStage resolved{.how = planned.how, .program = planned.program};
    bool elsewhere =
        std::ranges::any_of(prepare.seats(), [&](const v1::SeatEnds& seat) { return seat.stage() == index; });
    // Whether its program is there is for the hosts of its seats to say.
    auto problem = std::ranges::find(part.plan->problems, index, &flow::PlanProblem::stage);
    if (problem != part.plan->problems.end() && !elsewhere) resolved.problem = *problem;
    if (prepare.look_only()) allow_for_files(prepare, graph->stages[static_cast<std::size_t>(i)], index, resolved);
    if (!elsewhere) part.hows.push_back(how_of(resolved, index));
    part.programs.push_back(std::move(resolved.program));
  }
  return part;
}

}  // namespace

bool is_end_of_client(const v1::Prepare& prepare) {
  return prepare.stages().empty() && prepare.inputs_size() + prepare.outputs_size() == 1;
}

bool is_row(const v1::Prepare& prepare) {
  return flow::is_row(inner_links(prepare), static_cast<std::size_t>(prepare.stages_size()));
}

bool is_plain_row(const v1::Prepare& prepare) {
  if (prepare.stages().empty() || has_records(prepare) || !is_row(prepare)) return false;
  if (prepare.inputs_size() > 1 || prepare.outputs_size() > 1 || prepare.write_stdout_size() > 1) return false;
  std::uint32_t first = prepare.stages(0).index(), last = prepare.stages(prepare.stages_size() - 1).index();
  for (const v1::PartStream& input : prepare.inputs())
    if (!input.has_to() || input.to() != first) return false;
  for (const v1::PartStream& output : prepare.outputs())
    if (output.from() != last || output.of_errors() || output.slow().policy() != v1::Slow::POLICY_BLOCK) return false;
  return true;
}

exec::Environment part_environment(const v1::Prepare& prepare, PartSurroundings& surroundings) {
  exec::Environment environment = surroundings.environment();
  for (const auto& [name, value] : prepare.environment()) environment.set(name, value);
  return environment;
}

std::expected<ResolvedPart, std::string> resolve_part(const v1::Prepare& prepare, PartSurroundings& surroundings,
                                                      const std::string& directory) {
  ResolvedPart part;
  if (is_end_of_client(prepare)) return part;
  exec::Environment variables = part_environment(prepare, surroundings);
  auto shell = flow::find_shell(prepare.shell(), variables.get("PATH").value_or(exec::kDefaultPath));
  if (!shell) return std::unexpected(shell.error());
  flow::PlanContext context{
      .shell = std::move(*shell), .environment = variables, .inner_pipefail = prepare.inner_pipefail()};
  if (!surroundings.is_client()) context.directory = directory;
  if (!prepare.hosts_seats() && !is_plain_row(prepare)) return plan_part(prepare, std::move(context));
  flow::Resolver resolver(context);
  for (const v1::StageText& text : prepare.stages()) {
    auto stage = stage_from(text);
    if (!stage) return std::unexpected("a stage without a command");
    flow::ResolvedStage resolved = resolver.resolve(*stage, text.index());
    if (prepare.look_only()) allow_for_files(prepare, *stage, text.index(), resolved);
    part.hows.push_back(how_of(resolved, text.index()));
    part.programs.push_back(std::move(resolved.program));
  }
  return part;
}

// --- pipes --------------------------------------------------------------------------------------------------------

namespace {

// `is_stdin`: the client's own is meant, or no stream.
std::expected<void, int> make_input(exec::Program& program, const v1::Prepare& prepare, bool is_stdin,
                                    PartStreams& streams, UniqueFd& guard) {
  if (prepare.inputs().empty() && is_stdin) {
    program.input = exec::Stream::inherited;  // of a node's spawner it is /dev/null
    return {};
  }
  if (prepare.inputs().empty()) {
    program.input = exec::Stream::passed;
    UniqueFd& null = streams.passed.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return null ? std::expected<void, int>() : std::unexpected(errno);
  }
  auto pipe = make_pipe();
  if (!pipe) return std::unexpected(pipe.error());
  guard.reset(::fcntl(pipe->write_end.get(), F_DUPFD_CLOEXEC, 3));
  if (!guard) return std::unexpected(errno);
  program.input = exec::Stream::passed;
  program.guarded_input = true;
  streams.passed.push_back(std::move(pipe->read_end));
  streams.inputs.push_back(std::move(pipe->write_end));
  return {};
}

std::expected<void, int> make_output(exec::Program& program, const v1::Prepare& prepare, PartStreams& streams) {
  if (prepare.outputs().empty()) {
    program.output = prepare.has_keep() ? exec::Stream::captured : exec::Stream::inherited;
    return {};
  }
  auto pipe = make_pipe();
  if (!pipe) return std::unexpected(pipe.error());
  program.output = exec::Stream::passed;
  streams.passed.push_back(std::move(pipe->write_end));
  streams.outputs.push_back(std::move(pipe->read_end));
  return {};
}

std::expected<void, int> make_error(exec::Program& program, bool is_kept, std::uint32_t stage, PartStreams& streams) {
  if (is_kept) {
    program.error = exec::Stream::captured;
    return {};
  }
  auto pipe = make_pipe();
  if (!pipe) return std::unexpected(pipe.error());
  program.error = exec::Stream::passed;
  streams.passed.push_back(std::move(pipe->write_end));
  streams.errors.push_back({.read_end = std::move(pipe->read_end), .stage = stage});
  return {};
}

}  // namespace

std::expected<PartStreams, int> make_part_streams(const v1::Prepare& prepare,
                                                  const std::vector<exec::Program>& programs,
                                                  const PartSurroundings& surroundings, exec::Launch& launch) {
  PartStreams streams;
  bool is_stdin = prepare.has_reads_stdin() || !surroundings.is_client();
  for (std::size_t i = 0; i < programs.size(); ++i) {
    exec::Program program = programs[i];
    program.input = exec::Stream::neighbour;
    program.output = exec::Stream::neighbour;
    UniqueFd guard;
    std::expected<void, int> made;
    if (i == 0) made = make_input(program, prepare, is_stdin, streams, guard);
    if (made && i + 1 == programs.size()) made = make_output(program, prepare, streams);
    if (made && surroundings.reads_errors() && program.error != exec::Stream::as_stdout)
      made = make_error(program, prepare.has_keep(), prepare.stages(static_cast<int>(i)).index(), streams);
    if (!made) return std::unexpected(made.error());
    if (program.guarded_input) streams.passed.push_back(std::move(guard));
    launch.programs.push_back(std::move(program));
  }
  return streams;
}

}  // namespace sluice::node
