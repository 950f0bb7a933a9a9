#include "node/part_launch.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
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
    resolved.problem = flow::PlanProblem{
        index, 126,
        fmt::format("stage {}: {}: found, but it may not be executed; nothing was started", index + 1, name)};
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

std::expected<ResolvedPart, std::string> plan_part(const v1::Prepare& prepare, flow::PlanContext context) {
  flow::FlowGraph graph;
  for (const v1::StageText& text : prepare.stages()) {
    auto stage = stage_from(text);
    if (!stage) return std::unexpected("a stage without a command, or with words that are unknown here");
    if (!graph.stages.empty()) graph.links.push_back({graph.stages.size() - 1, graph.stages.size()});
    graph.stages.push_back(*std::move(stage));
  }
  context.first_stage = prepare.stages(0).index();
  context.losses_allowed = prepare.records().losses_allowed();
  ResolvedPart part;
  part.plan = flow::make_plan(graph, context);
  for (std::size_t i = 0; i < part.plan->stages.size(); ++i) {
    std::uint32_t index = prepare.stages(static_cast<int>(i)).index();
    flow::ResolvedStage resolved{.how = part.plan->stages[i].how, .program = part.plan->stages[i].program};
    bool elsewhere =
        std::ranges::any_of(prepare.seats(), [&](const v1::SeatEnds& seat) { return seat.stage() == index; });
    // Whether its program is there is for the hosts of its seats to say.
    auto problem = std::ranges::find(part.plan->problems, index, &flow::PlanProblem::stage);
    if (problem != part.plan->problems.end() && !elsewhere) resolved.problem = *problem;
    if (prepare.look_only()) allow_for_files(prepare, graph.stages[i], index, resolved);
    if (!elsewhere) part.hows.push_back(how_of(resolved, index));
    part.programs.push_back(std::move(resolved.program));
  }
  return part;
}

}  // namespace

exec::Environment part_environment(const v1::Prepare& prepare, PartSurroundings& surroundings) {
  exec::Environment environment = surroundings.environment();
  for (const auto& [name, value] : prepare.environment()) environment.set(name, value);
  return environment;
}

std::expected<ResolvedPart, std::string> resolve_part(const v1::Prepare& prepare, PartSurroundings& surroundings,
                                                      const std::string& directory) {
  ResolvedPart part;
  if (prepare.stages().empty()) return part;
  exec::Environment variables = part_environment(prepare, surroundings);
  auto shell = flow::find_shell(prepare.shell(), variables.get("PATH").value_or(exec::kDefaultPath));
  if (!shell) return std::unexpected(shell.error());
  flow::PlanContext context{
      .shell = std::move(*shell), .environment = variables, .inner_pipefail = prepare.inner_pipefail()};
  if (!surroundings.is_client()) context.directory = directory;
  if (!prepare.hosts_seats() && has_records(prepare)) return plan_part(prepare, std::move(context));
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

std::expected<void, int> make_input(exec::Program& program, bool has_link, PartStreams& streams, UniqueFd& guard) {
  if (!has_link) {
    program.input = exec::Stream::inherited;  // the client's own; of a node's spawner it is /dev/null
    return {};
  }
  auto pipe = make_pipe();
  if (!pipe) return std::unexpected(pipe.error());
  guard.reset(::fcntl(pipe->write_end.get(), F_DUPFD_CLOEXEC, 3));
  if (!guard) return std::unexpected(errno);
  program.input = exec::Stream::passed;
  program.guarded_input = true;
  streams.passed.push_back(std::move(pipe->read_end));
  streams.input = std::move(pipe->write_end);
  return {};
}

std::expected<void, int> make_output(exec::Program& program, const v1::Prepare& prepare, PartStreams& streams) {
  if (!prepare.has_output()) {
    program.output = prepare.has_keep() ? exec::Stream::captured : exec::Stream::inherited;
    return {};
  }
  auto pipe = make_pipe();
  if (!pipe) return std::unexpected(pipe.error());
  program.output = exec::Stream::passed;
  streams.passed.push_back(std::move(pipe->write_end));
  streams.output = std::move(pipe->read_end);
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
                                                  const std::vector<exec::Program>& programs, bool reads_errors,
                                                  exec::Launch& launch) {
  PartStreams streams;
  for (std::size_t i = 0; i < programs.size(); ++i) {
    exec::Program program = programs[i];
    program.input = exec::Stream::neighbour;
    program.output = exec::Stream::neighbour;
    UniqueFd guard;
    std::expected<void, int> made;
    if (i == 0) made = make_input(program, !prepare.inputs().empty(), streams, guard);
    if (made && i + 1 == programs.size()) made = make_output(program, prepare, streams);
    if (made && reads_errors && program.error != exec::Stream::as_stdout)
      made = make_error(program, prepare.has_keep(), prepare.stages(static_cast<int>(i)).index(), streams);
    if (!made) return std::unexpected(made.error());
    if (program.guarded_input) streams.passed.push_back(std::move(guard));
    launch.programs.push_back(std::move(program));
  }
  return streams;
}

}  // namespace sluice::node
