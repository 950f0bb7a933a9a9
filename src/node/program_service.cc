#include "node/program_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <chrono>
#include <optional>
#include <set>
#include <utility>

#include "exec/program_lookup.h"
#include "flow/resolve.h"
#include "flow/shell.h"
#include "node/condition.h"
#include "node/program_run.h"
#include "node/task_group.h"
#include "sluice/v1/programs.pb.h"

namespace sluice::node {

using net::Awaitable;
using namespace boost::asio::experimental::awaitable_operators;

namespace {

using Answer = std::expected<v1::RunProgramResponse, rpc::Status>;

constexpr std::uint64_t kOutputUsual = std::uint64_t{64} << 10;
constexpr std::uint64_t kOutputMax = std::uint64_t{1} << 20;  // two of them fit into a message
constexpr std::size_t kInputMax = std::size_t{3} << 20;
constexpr std::size_t kProgramsMax = 1024;  // at a time; each needs a spawner
constexpr std::chrono::seconds kDialTime{5};

rpc::Status bad_request(std::string message) { return {rpc::Code::invalid_argument, std::move(message)}; }

flow::Stage stage_of(const v1::RunProgramRequest& request) {
  flow::Stage stage;
  if (request.arguments().empty()) {
    stage.shell_text = request.shell_text();
    return stage;
  }
  stage.plain_words.emplace(request.arguments().begin(), request.arguments().end());
  stage.without_shell = true;
  return stage;
}

v1::RunProgramResponse response_of(ProgramEnd end, const NodeId& node) {
  v1::RunProgramResponse response;
  response.set_status(exec::ProcessStatus::from_wait(end.exited.wait_status).shell_status());
  response.set_wait_status(end.exited.wait_status);
  response.set_output(std::move(end.output.bytes));
  response.set_error_output(std::move(end.error_output.bytes));
  response.set_dropped_output_bytes(end.output.dropped);
  response.set_dropped_error_bytes(end.error_output.dropped);
  response.set_timed_out(end.timed_out);
  response.set_cpu_us(end.exited.user_us + end.exited.system_us);
  response.set_peak_memory_bytes(end.exited.peak_memory_bytes);
  response.set_node_id(node.text());
  return response;
}

}  // namespace

// Shared with the coroutine that runs it, which outlives a caller's patience.
struct Running {
  Running(PartSurroundings& surroundings, std::unique_ptr<SpawnerUse> spawner, ProgramRequest request)
      : changed(surroundings.executor()), run(surroundings, std::move(spawner), std::move(request)) {}
  Condition changed;
  ProgramRun run;
  std::optional<std::expected<ProgramEnd, ProgramFailure>> end;

  Awaitable<void> wait() {
    while (!end) co_await changed.wait();
  }
};

struct ProgramService::Impl : std::enable_shared_from_this<Impl> {
  Impl(NodeCore node_core, PartSurroundings& around) : core(node_core), surroundings(around) {}

  NodeCore core;
  PartSurroundings& surroundings;
  std::set<Running*> running;
  std::optional<flow::Shell> usual_shell;
  bool closing = false;

  static Awaitable<rpc::Status> serve(std::shared_ptr<Impl> self, rpc::ServerCall& call) {
    auto message = co_await call.read();
    if (!message) co_return message.error();
    v1::RunProgramRequest request;
    if (!*message || !request.ParseFromString(**message))
      co_return bad_request("the request is no message of its type");
    auto elsewhere = self->other_node(request);
    if (!elsewhere) co_return elsewhere.error();
    Answer answer = std::unexpected(rpc::Status());
    if (*elsewhere)
      answer = co_await pass_on(self, call.info(), std::move(request), **elsewhere);
    else
      answer = co_await run_here(self, call, std::move(request));
    if (!answer) co_return answer.error();
    auto written = co_await call.write(answer->SerializeAsString());
    co_return written ? rpc::Status{} : written.error();
  }

  std::expected<std::optional<cluster::Member>, rpc::Status> other_node(const v1::RunProgramRequest& request) const {
    if (request.node().empty()) return std::nullopt;
    auto member = find_member(core.members, request.node());
    if (!member) return std::unexpected(member.error());
    if (member->id == core.members.self()) return std::nullopt;
    return *member;
  }

  static Awaitable<Answer> pass_on(std::shared_ptr<Impl> self, rpc::CallInfo info, v1::RunProgramRequest request,
                                   cluster::Member node) {
    auto channel = co_await self->core.peers.get(node.id, Clock::now() + kDialTime);
    if (!channel) co_return std::unexpected(status_of(channel.error(), node.profile.name));
    request.clear_node();
    rpc::CallOptions options{
        .timeout = std::nullopt, .on_behalf_of = info.caller.connection.name, .on_behalf_role = info.caller.effective};
    if (info.deadline) options.timeout = *info.deadline - Clock::now();
    co_return co_await rpc::call<v1::RunProgramResponse>(**channel, "sluice.v1.Programs/Run", request,
                                                         std::move(options));
  }

  static rpc::Status not_runnable(const std::string& name, int status) {
    if (status == 126)
      return {rpc::Code::failed_precondition, fmt::format("{}: found, but it may not be executed", name)};
    return {rpc::Code::not_found, fmt::format("{}: there is no such program on this node", name)};
  }

  // --- here -------------------------------------------------------------------------------------------------------

  // The node's own is looked up once: it takes longer than the rest of the preparation.
  std::expected<flow::Shell, std::string> find_shell(const exec::Environment& variables, bool own_path) {
    if (!own_path && usual_shell) return *usual_shell;
    auto shell = flow::find_shell("", variables.get("PATH").value_or(exec::kDefaultPath));
    if (shell && !own_path) usual_shell = *shell;
    return shell;
  }

  std::expected<ProgramRequest, rpc::Status> prepare(v1::RunProgramRequest& request) {
    if (request.arguments().empty() == request.shell_text().empty())
      return std::unexpected(bad_request("give either arguments or shell_text"));
    if (request.input().size() > kInputMax)
      return std::unexpected(bad_request(fmt::format("the input is larger than {} bytes; use a pipeline", kInputMax)));
    exec::Environment variables = surroundings.environment();
    for (const auto& [name, value] : request.environment()) variables.set(name, value);
    auto shell = find_shell(variables, request.environment().contains("PATH"));
    if (!shell) return std::unexpected(rpc::Status{rpc::Code::failed_precondition, shell.error()});
    flow::PlanContext context{.shell = std::move(*shell), .environment = variables, .directory = std::string()};
    flow::ResolvedStage resolved = flow::Resolver(context).resolve(stage_of(request), 0);
    if (resolved.problem) return std::unexpected(not_runnable(request.arguments(0), resolved.problem->status));
    auto folder = surroundings.make_folder();
    if (!folder) return std::unexpected(rpc::Status{rpc::Code::internal, folder.error()});
    variables.set("PWD", *folder);
    ProgramRequest prepared{.program = std::move(resolved.program),
                            .environment = variables.entries(),
                            .folder = *folder,
                            .input = std::move(*request.mutable_input())};
    std::uint64_t wanted = request.output_bytes_max() == 0 ? kOutputUsual : request.output_bytes_max();
    prepared.output_max = std::min(wanted, kOutputMax);
    if (request.timeout_ms() != 0) prepared.deadline = Clock::now() + std::chrono::milliseconds(request.timeout_ms());
    return prepared;
  }

  static Awaitable<Answer> run_here(std::shared_ptr<Impl> self, rpc::ServerCall& call, v1::RunProgramRequest request) {
    if (self->closing) co_return std::unexpected(rpc::Status{rpc::Code::unavailable, "this node is about to leave"});
    if (self->running.size() >= kProgramsMax)
      co_return std::unexpected(rpc::Status{rpc::Code::resource_exhausted,
                                            fmt::format("{} programs run here already; try again", kProgramsMax)});
    auto prepared = self->prepare(request);
    if (!prepared) co_return std::unexpected(prepared.error());
    std::string folder = prepared->folder;
    auto spawner = self->surroundings.spawner();
    if (!spawner) {
      self->surroundings.remove_folder(folder);
      co_return std::unexpected(rpc::Status{rpc::Code::unavailable, spawner.error()});
    }
    auto program = std::make_shared<Running>(self->surroundings, std::move(*spawner), std::move(*prepared));
    self->running.insert(program.get());
    TaskGroup tasks(self->core.executor, self->core.log);
    tasks.spawn(run_to_its_end(program));
    co_await (program->wait() || call.cancelled());
    if (!program->end) program->run.kill();
    co_await tasks.wait();
    self->running.erase(program.get());
    self->surroundings.recycle_folder(folder);
    auto& end = *program->end;
    if (end) co_return response_of(std::move(*end), self->core.members.self());
    bool not_there = end.error().status == 127;
    co_return std::unexpected(
        rpc::Status{not_there ? rpc::Code::not_found : rpc::Code::failed_precondition, end.error().message});
  }

  static Awaitable<void> run_to_its_end(std::shared_ptr<Running> program) {
    program->end = co_await program->run.run();
    program->changed.notify();
  }
};

ProgramService::ProgramService(NodeCore core, PartSurroundings& surroundings)
    : impl_(std::make_shared<Impl>(core, surroundings)) {}

ProgramService::~ProgramService() = default;

void ProgramService::register_methods(rpc::DispatchTable& table) {
  using net::Role;
  table.add({.name = "sluice.v1.Programs/Run",
             .roles = {Role::run, Role::operate, Role::node, Role::admin},
             .mutating = true,
             .handler = [impl = impl_](rpc::ServerCall& call) { return Impl::serve(impl, call); }});
}

void ProgramService::close() {
  impl_->closing = true;
  for (Running* program : impl_->running) program->run.kill();
}

}  // namespace sluice::node
