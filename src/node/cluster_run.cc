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
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/unique_fd.h"
#include "exec/subreaper.h"
#include "link/data_loops.h"
#include "node/cluster_progress.h"
#include "node/cluster_report.h"
#include "node/condition.h"
#include "node/part_host.h"
#include "node/progress_display.h"
#include "node/signals.h"
#include "node/stage_marks.h"
#include "node/stderr_queue.h"
#include "node/task_group.h"
#include "node/terminal.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

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
        signals_(entry),
        terminal_(entry.has_terminal ? Terminal::open() : Terminal()),
        log_({.level = LogLevel::error}),
        tasks_(executor, log_),
        call_(access.channel().start("sluice.v1.Flows/Run", {.timeout = std::nullopt})),
        report_(request_, Clock::now()),
        samples_(request_.graph.stages.size()),
        progress_(shown_progress(request_), Clock::now(), errors_, samples_),
        progress_wake_(executor) {
    if (request_.run.mark_stderr) marks_.emplace(request_.graph);
  }

  Awaitable<RunResult> run() {
    exec::become_subreaper();
    tasks_.spawn(watch_signals(*this));
    if (!co_await put_own_files()) {
      co_await wind_up();
      co_return RunResult{.status = forced_by_ != 0 ? 128 + forced_by_ : kRefused, .signal = forced_by_};
    }
    v1::RunInput start;
    *start.mutable_start() = to_message(request_, progress_.active());
    if (co_await call_.write(start.SerializeAsString())) {
      started_ = true;
      tasks_.spawn(show_progress(*this));
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
  RecordSettings record_files() override { return request_.run.records; }
  bool reads_errors() const override { return marks_.has_value(); }
  // What was closed when we were started can't be written to, as by a stage on this host.
  int own_output() const override { return STDOUT_FILENO; }
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

  // --- what the node says -----------------------------------------------------------------------------------------

  Awaitable<void> on_output(std::string bytes) {
    v1::RunOutput output;
    if (!output.ParseFromString(bytes)) co_return;
    switch (output.output_case()) {
      case v1::RunOutput::kPlan:
        if (marks_) marks_->on_plan(output.plan());
        report_.on_plan(output.plan());
        break;
      case v1::RunOutput::kHost:
        host(output.host().part()).on_command(output.host().command());
        break;
      case v1::RunOutput::kErrorOutput:
        put_errors(output.error_output());
        co_await write_errors();
        break;
      case v1::RunOutput::kNote:
        if (!request_.run.quiet) errors_.say(output.note());
        co_await write_errors();
        break;
      case v1::RunOutput::kStage:
        report_.on_stage(output.stage(), Clock::now());
        break;
      case v1::RunOutput::kLinkCounts:
        report_.on_link_counts(output.link_counts());
        break;
      case v1::RunOutput::kMoved:
        samples_.on_moved(output.moved());
        break;
      case v1::RunOutput::kEnded:
        end_ = output.ended();
        ended_ = true;
        break;
      default:
        break;
    }
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
    if (event.has_error_output()) return put_errors(event.error_output());
    bool not_written = event.has_link_ended() && event.link_ended().kind() == v1::LinkEnded::KIND_FAILED;
    if (output_is_closed_ && not_written && event.link_ended().is_input()) output_refused_ = true;
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

  // --- progress -------------------------------------------------------------------------------------------------

  static ProgressMode shown_progress(const ClusterRunRequest& request) {
    return request.dry_run || request.background ? ProgressMode::none : request.run.progress;
  }

  static Awaitable<void> show_progress(ClusterRun& run) {
    while (!run.winding_up_ && run.progress_.active()) {
      co_await run.progress_wake_.wait(run.progress_.deadline());
      if (run.winding_up_) break;
      run.progress_.on_deadline(Clock::now(), run.report_.summary(), run.terminal_);
      co_await run.write_errors();
    }
  }

  // --- stderr and signals -----------------------------------------------------------------------------------------

  void put_errors(const v1::ErrorOutput& output) {
    errors_.put(marks_ ? marks_->on_bytes(output.stage(), output.bytes()) : output.bytes());
  }

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
    if (is_ending(signal.number) && std::exchange(told_to_end_, true)) {
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
    if (started_ && progress_.active()) progress_.finish(Clock::now(), report_.summary(), terminal_);
    progress_wake_.notify();
    if (signal_descriptor_ != nullptr) signal_descriptor_->cancel();
    outgoing_.clear();
    call_.cancel();
    co_await tasks_.wait();
    loops_.close();
    if (marks_) errors_.put(marks_->on_end());
    co_await write_errors();
  }

  RunResult conclude() {
    if (request_.dry_run && ended_) return report_.show_plan(end_);
    if (forced_by_ != 0) return {.status = 128 + forced_by_, .signal = forced_by_};
    if (!ended_) return lost_node();
    if (output_refused_ && end_.end() == v1::FlowEnded::END_LINK_LOST) return closed_output();
    return report_.show_end(end_, Clock::now());
  }

  RunResult closed_output() {
    end_.set_message("stdout is closed, and the flow writes to it; open it, or write to /dev/null");
    end_.set_status(1);
    return report_.show_end(end_, Clock::now());
  }

  RunResult lost_node() {
    if (request_.background && status_.ok() && !report_.flow_id().empty()) {
      int printed = print_to_stdout(report_.flow_id() + "\n");
      if (printed != 0) say(fmt::format("flow {} was started all the same", report_.flow_id()));
      return {.status = printed};
    }
    say(status_.ok() ? "the node ended the call before the flow had ended"
                     : fmt::format("the node ended the call: {}", status_.message));
    return {.status = request_.dry_run ? 1 : kRefused};
  }

  asio::any_io_executor executor_;
  NodeAccess& access_;
  ClusterRunRequest request_;
  std::vector<exec::SpawnerClient> spawners_;
  const exec::EntryState& entry_;
  Signals signals_;
  Terminal terminal_;
  Logger log_;
  link::DataLoops loops_;
  TaskGroup tasks_;
  rpc::ClientCall call_;
  StderrQueue errors_;
  std::optional<StageMarks> marks_;
  bool output_is_closed_ = stands_for_closed(STDOUT_FILENO);
  bool output_refused_ = false;  // something was to be written there
  std::map<std::uint32_t, std::unique_ptr<PartHost>> hosts_;
  std::deque<std::string> outgoing_;
  bool sending_ = false;
  asio::posix::stream_descriptor* signal_descriptor_ = nullptr;
  ClusterReport report_;
  ClusterProgress samples_;
  ProgressDisplay progress_;
  Condition progress_wake_;
  v1::FlowEnded end_;
  rpc::Status status_;
  bool started_ = false;
  bool ended_ = false;
  bool winding_up_ = false;
  bool told_to_end_ = false;
  int forced_by_ = 0;
};

}  // namespace

Awaitable<RunResult> run_on_cluster(NodeAccess& access, ClusterRunRequest request,
                                    std::vector<exec::SpawnerClient> spawners, const exec::EntryState& entry) {
  auto executor = co_await asio::this_coro::executor;
  ClusterRun run(executor, access, std::move(request), std::move(spawners), entry);
  co_return co_await run.run();
}

}  // namespace sluice::node
