#include "node/cluster_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "exec/subreaper.h"
#include "flow/flow_summary.h"
#include "flow/placement.h"
#include "flow/quoting.h"
#include "link/data_loops.h"
#include "node/flow_messages.h"
#include "node/host_name.h"
#include "node/part_host.h"
#include "node/plan_messages.h"
#include "node/signals.h"
#include "node/stderr_queue.h"
#include "node/task_group.h"
#include "node/terminal.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
using Kind = flow::Whereabouts::Kind;

class ClientSpawner final : public SpawnerUse {
 public:
  explicit ClientSpawner(exec::SpawnerClient client) : client_(std::move(client)) {}
  exec::SpawnerClient& client() override { return client_; }

 private:
  exec::SpawnerClient client_;
};

class ClusterRun final : public PartSurroundings {
 public:
  ClusterRun(asio::any_io_executor executor, NodeAccess& access, ClusterRunRequest request,
             std::vector<exec::SpawnerClient> spawners, const exec::EntryState& entry)
      : executor_(executor),
        access_(access),
        request_(std::move(request)),
        spawners_(std::move(spawners)),
        entry_(entry),
        start_(Clock::now()),
        signals_(entry),
        terminal_(entry.has_terminal ? Terminal::open() : Terminal()),
        log_({.level = LogLevel::error}),
        tasks_(executor, log_),
        call_(access.channel().start("sluice.v1.Flows/Run", {.timeout = std::nullopt})) {
    summary_.name = request_.run.name;
    summary_.rule = request_.run.pipefail;
    for (const flow::Stage& stage : request_.graph.stages) summary_.stages.push_back({.command = stage.command});
  }

  Awaitable<RunResult> run() {
    exec::become_subreaper();
    tasks_.spawn(watch_signals(*this));
    if (!co_await put_own_files()) {
      co_await wind_up();
      co_return RunResult{.status = forced_by_ != 0 ? 128 + forced_by_ : kRefused, .signal = forced_by_};
    }
    if (co_await call_.write(start_message())) {
      started_ = true;
      while (!ended_) {
        auto bytes = co_await call_.read();
        if (!bytes) break;
        co_await on_output(std::move(*bytes));
      }
    }
    co_await wind_up();
    co_return conclude();
  }

 private:
  // --- what PartHost needs ----------------------------------------------------------------------------------------

  asio::any_io_executor executor() override { return executor_; }
  Logger& log() override { return log_; }
  link::DataLoops& loops() override { return loops_; }
  LinkRegistry* registry() override { return nullptr; }
  Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial(LinkAddress, link::LinkClaim claim,
                                                                       TimePoint deadline) override {
    co_return co_await access_.dial_link(claim, deadline);
  }
  std::expected<std::unique_ptr<SpawnerUse>, std::string> spawner() override {
    if (spawners_.empty()) return std::unexpected("the node wants more of the client than its stages need");
    auto use = std::make_unique<ClientSpawner>(std::move(spawners_.back()));
    spawners_.pop_back();
    return use;
  }
  exec::Environment environment() override { return request_.run.environment; }
  bool is_client() const override { return true; }
  int process_group() const override { return entry_.has_terminal ? entry_.process_group : 0; }
  std::optional<exec::RunAs> run_as() const override { return std::nullopt; }
  std::expected<std::string, std::string> make_folder() override { return request_.run.directory; }
  void remove_folder(const std::string&) override {}
  std::expected<std::string, std::string> keep_folder(const std::string&, std::uint32_t, const std::string&) override {
    return std::unexpected("a client keeps no output");
  }

  Awaitable<bool> put_own_files() {
    if (request_.dry_run) co_return true;
    auto put = co_await put_files(access_.channel(), request_.files.files, [this] { return forced_by_ != 0; });
    if (!put && forced_by_ == 0) say(fmt::format("cannot ship {}; nothing was started", put.error()));
    co_return put.has_value() && forced_by_ == 0;
  }

  // --- the request ------------------------------------------------------------------------------------------------

  std::string start_message() const {
    v1::RunInput input;
    v1::RunStart& start = *input.mutable_start();
    start.set_name(request_.run.name);
    start.set_text(request_.text);
    for (std::size_t i = 0; i < request_.graph.stages.size(); ++i) add_stage(i, *start.add_stages());
    for (const OutgoingFile& file : request_.files.files) {
      v1::ShippedFile& message = *start.add_files();
      message.set_path(file.path);
      message.set_sha256(file.content.as_bytes());
      message.set_size(file.size);
      message.set_executable(file.executable);
    }
    for (const auto& [name, value] : request_.stage_environment) (*start.mutable_environment())[name] = value;
    start.set_shell(request_.shell);
    start.set_inner_pipefail(request_.inner_pipefail);
    start.set_pipefail(std::string(pipefail_name(request_.run.pipefail)));
    start.set_grace_ms(milliseconds(request_.run.grace));
    if (request_.run.timeout) start.set_timeout_ms(std::max<std::uint64_t>(1, milliseconds(*request_.run.timeout)));
    start.set_keep_stragglers(request_.run.keep);
    start.set_background(request_.background);
    start.set_keep_bytes_max(request_.keep_bytes_max);
    start.set_dry_run(request_.dry_run);
    start.set_account_io(request_.run.json_summary);
    start.set_client_name(host_name());
    start.set_marks(request_.marks == OutputMarks::always  ? v1::RunStart::MARKS_ALWAYS
                    : request_.marks == OutputMarks::never ? v1::RunStart::MARKS_NEVER
                                                           : v1::RunStart::MARKS_UNSPECIFIED);
    return input.SerializeAsString();
  }

  void add_stage(std::size_t index, v1::StageRequest& stage) const {
    to_message(request_.graph.stages[index], index, stage);
    if (index >= request_.files.stages.size()) return;
    for (const std::string& path : request_.files.stages[index].paths) stage.add_ships(path);
    for (const std::string& problem : request_.files.stages[index].problems) stage.add_ship_problems(problem);
  }

  static std::uint64_t milliseconds(Duration duration) {
    return static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::milliseconds>(duration).count());
  }

  // --- what the node says -----------------------------------------------------------------------------------------

  Awaitable<void> on_output(std::string bytes) {
    v1::RunOutput output;
    if (!output.ParseFromString(bytes)) co_return;
    switch (output.output_case()) {
      case v1::RunOutput::kPlan:
        on_plan(output.plan());
        break;
      case v1::RunOutput::kHost:
        host(output.host().part()).on_command(output.host().command());
        break;
      case v1::RunOutput::kErrorOutput:
        errors_.put(output.error_output().bytes());
        co_await write_errors();
        break;
      case v1::RunOutput::kNote:
        if (!request_.run.quiet) errors_.say(output.note());
        co_await write_errors();
        break;
      case v1::RunOutput::kStage:
        on_stage(output.stage());
        break;
      case v1::RunOutput::kEnded:
        end_ = output.ended();
        ended_ = true;
        break;
      default:
        break;
    }
  }

  void on_plan(const v1::FlowPlan& plan) {
    flow_id_ = plan.flow_id();
    for (const v1::PlannedStage& stage : plan.stages())
      if (stage.index() < summary_.stages.size() && summary_.stages[stage.index()].host.empty())
        summary_.stages[stage.index()].host = stage.place() == "here" ? host_name() : stage.place();
    if (!request_.dry_run) return;
    plan_text_ = request_.json ? plan_as_json(plan) + "\n" : describe_plan(plan);
    for (const v1::PlanProblem& problem : plan.problems()) problems_.push_back(problem.message());
  }

  void on_stage(const v1::StageStatus& status) {
    if (status.index() >= summary_.stages.size()) return;
    flow::StageSummary& stage = summary_.stages[status.index()];
    if (!status.host().empty()) stage.host = status.host();
    stage.pid = status.pid();
    if (!status.has_exited()) return;
    const v1::Exited& exited = status.exited();
    flow::StageEnd end = stage_end_from(exited);
    if (!stage.end || end.status.shell_status() >= stage.end->status.shell_status()) stage.end = end;
    stage.io_known = exited.io_known();
    stage.io_read_bytes = exited.io_read_bytes();
    stage.io_write_bytes = exited.io_write_bytes();
    stage.cpu_us = exited.cpu_us();
    stage.peak_memory_bytes = exited.peak_memory_bytes();
    stage.duration = Clock::now() - start_;
  }

  PartHost& host(std::uint32_t part) {
    auto& host = hosts_[part];
    if (!host)
      host = std::make_unique<PartHost>(
          *this, [this](v1::HostEvent event) { report(std::move(event)); },
          [this]() -> Awaitable<void> { co_await write_errors(); });
    return *host;
  }

  void report(v1::HostEvent event) {
    v1::RunInput input;
    *input.mutable_host_event() = std::move(event);
    send(input);
  }

  // Messages go out in order: one coroutine at a time writes to the call.
  void send(const v1::RunInput& input) {
    outgoing_.push_back(input.SerializeAsString());
    if (!std::exchange(sending_, true)) tasks_.spawn(send_all(*this));
  }

  static Awaitable<void> send_all(ClusterRun& run) {
    while (!run.outgoing_.empty()) {
      std::string message = std::move(run.outgoing_.front());
      run.outgoing_.pop_front();
      if (!co_await run.call_.write(std::move(message))) run.outgoing_.clear();
    }
    run.sending_ = false;
  }

  // --- stderr and signals -----------------------------------------------------------------------------------------

  Awaitable<void> write_errors() {
    errors_.pump();
    while (auto waits = errors_.waits()) {
      UniqueFd copy(::fcntl(waits->fd, F_DUPFD_CLOEXEC, 3));
      if (!copy) co_return;
      asio::posix::stream_descriptor descriptor(executor_, copy.release());
      co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_write, kTuple);
      errors_.pump();
    }
  }

  static Awaitable<void> watch_signals(ClusterRun& run) {
    asio::posix::stream_descriptor descriptor(run.executor_, run.signals_.descriptor());
    run.signal_descriptor_ = &descriptor;
    while (!run.winding_up_) {
      while (auto signal = run.signals_.next()) run.on_signal(*signal);
      auto [error] = co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, kTuple);
      if (error) break;
    }
    descriptor.release();
    run.signal_descriptor_ = nullptr;
  }

  void on_signal(const ReceivedSignal& signal) {
    if (!started_) {  // files are on their way, and nothing else
      if (is_ending(signal.number)) forced_by_ = signal.number;
      return;
    }
    v1::RunInput input;
    v1::UserSignal& message = *input.mutable_signal();
    message.set_number(signal.number);
    message.set_from_terminal(signal.source == flow::SignalSource::terminal);
    message.set_terminal_raw(terminal_.is_raw());
    send(input);
    // A node that does not answer must not keep us: the second time we go without it.
    if (std::exchange(told_to_end_, true) && is_ending(signal.number)) {
      forced_by_ = signal.number;
      call_.cancel();
    }
  }

  static bool is_ending(int signal) {
    return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT;
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  Awaitable<void> wind_up() {
    if (!ended_) {
      if (!started_) call_.cancel();
      for (auto& [part, host] : hosts_) host->abandon();
      status_ = co_await call_.finish();
    }
    for (auto& [part, host] : hosts_) {
      if (ended_) host->abandon();
      co_await host->finished();
    }
    hosts_.clear();
    winding_up_ = true;
    if (signal_descriptor_ != nullptr) signal_descriptor_->cancel();
    outgoing_.clear();
    call_.cancel();
    co_await tasks_.wait();
    loops_.close();
    co_await write_errors();
  }

  RunResult conclude() {
    if (request_.dry_run && ended_) return show_plan();
    if (forced_by_ != 0) return {.status = 128 + forced_by_, .signal = forced_by_};
    if (!ended_) return lost_node();
    summary_.duration = Clock::now() - start_;
    summary_.status = end_.status();
    summary_.signal = end_.signal();
    summary_.end = flow_end();
    if (request_.background && end_.end() == v1::FlowEnded::END_COMPLETED) return {};
    report_end();
    bool signalled = summary_.end == flow::FlowEnd::signalled;
    return {.status = summary_.status, .signal = signalled ? summary_.signal : 0};
  }

  RunResult lost_node() {
    if (request_.background && status_.ok() && !flow_id_.empty()) {
      std::string line = flow_id_ + "\n";
      (void)!::write(STDOUT_FILENO, line.data(), line.size());
      return {};
    }
    say(status_.ok() ? "the node ended the call before the flow had ended"
                     : fmt::format("the node ended the call: {}", status_.message));
    return {.status = request_.dry_run ? 1 : kRefused};
  }

  RunResult show_plan() {
    std::string_view rest = plan_text_;
    while (!rest.empty()) {
      ssize_t written = ::write(STDOUT_FILENO, rest.data(), rest.size());
      if (written <= 0) break;
      rest.remove_prefix(static_cast<std::size_t>(written));
    }
    for (const std::string& problem : problems_) say(problem);
    if (problems_.empty() && end_.status() != 0) say(end_.message());
    return {.status = problems_.empty() && end_.status() == 0 ? 0 : 1};
  }

  flow::FlowEnd flow_end() const {
    switch (end_.end()) {
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

  void report_end() {
    bool lost = end_.end() == v1::FlowEnded::END_LINK_LOST;
    bool not_started = end_.end() == v1::FlowEnded::END_NOT_STARTED;
    if (lost || not_started) say(end_.message());
    if (summary_.end == flow::FlowEnd::timed_out)
      say(fmt::format("the flow was ended: it had run for its {} (--timeout)", format_duration(*request_.run.timeout)));
    bool completed = summary_.end == flow::FlowEnd::completed && !lost;
    if (completed && summary_.status != 0 && !request_.run.quiet)
      for (const std::string& sentence : flow::failure_sentences(summary_)) say(sentence);
    if (request_.run.json_summary) write_stderr_line(to_json(summary_));
  }

  asio::any_io_executor executor_;
  NodeAccess& access_;
  ClusterRunRequest request_;
  std::vector<exec::SpawnerClient> spawners_;
  const exec::EntryState& entry_;
  TimePoint start_;
  Signals signals_;
  Terminal terminal_;
  Logger log_;
  link::DataLoops loops_;
  TaskGroup tasks_;
  rpc::ClientCall call_;
  StderrQueue errors_;
  std::map<std::uint32_t, std::unique_ptr<PartHost>> hosts_;
  std::deque<std::string> outgoing_;
  bool sending_ = false;
  asio::posix::stream_descriptor* signal_descriptor_ = nullptr;
  flow::FlowSummary summary_;
  std::string flow_id_;
  std::string plan_text_;
  std::vector<std::string> problems_;
  v1::FlowEnded end_;
  rpc::Status status_;
  bool started_ = false;
  bool ended_ = false;
  bool winding_up_ = false;
  bool told_to_end_ = false;
  int forced_by_ = 0;
};

}  // namespace

bool needs_cluster(const flow::FlowGraph& graph) {
  return std::ranges::any_of(graph.stages, [](const flow::Stage& stage) {
    Kind kind = stage.words.where.kind;
    return kind == Kind::every_node || kind == Kind::node || kind == Kind::label;
  });
}

std::size_t count_client_parts(const flow::FlowGraph& graph) {
  std::size_t parts = 0;
  bool here_before = false, all_before = false;
  for (std::size_t i = 0; i < graph.stages.size(); ++i) {
    Kind kind = graph.stages[i].words.where.kind;
    bool beside = kind == Kind::beside_neighbour;
    bool here = kind == Kind::here || (beside && (i == 0 || here_before || all_before));
    if (here && !here_before) ++parts;
    here_before = here;
    all_before = kind == Kind::every_node;
  }
  return parts;
}

Awaitable<RunResult> run_on_cluster(NodeAccess& access, ClusterRunRequest request,
                                    std::vector<exec::SpawnerClient> spawners, const exec::EntryState& entry) {
  auto executor = co_await asio::this_coro::executor;
  ClusterRun run(executor, access, std::move(request), std::move(spawners), entry);
  co_return co_await run.run();
}

}  // namespace sluice::node
