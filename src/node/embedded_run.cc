#include "node/embedded_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "base/require.h"
#include "base/text.h"
#include "exec/subreaper.h"
#include "flow/flow_summary.h"
#include "flow/quoting.h"
#include "node/embedded_streams.h"
#include "node/host_name.h"
#include "node/local_progress.h"
#include "node/progress_display.h"
#include "node/signals.h"
#include "node/stderr_marks.h"
#include "node/stderr_queue.h"
#include "node/terminal.h"

namespace sluice::node {
namespace {

constexpr std::size_t kNamedStragglers = 5;  // in a message; the rest are counted

std::string list_stragglers(const std::vector<flow::Straggler>& stragglers) {
  std::string list;
  for (std::size_t i = 0; i < std::min(stragglers.size(), kNamedStragglers); ++i)
    list += fmt::format("{}{} (pid {})", i == 0 ? "" : ", ", stragglers[i].name, stragglers[i].pid);
  if (stragglers.size() > kNamedStragglers) list += fmt::format(" and {} more", stragglers.size() - kNamedStragglers);
  return list;
}

// Looks often enough within the patience that what moves in between is seen.
struct StallLooks {
  explicit StallLooks(Duration patience) : watch(patience), interval(patience / 10) {}

  flow::StallWatch watch;
  Duration interval;
  TimePoint next{};
};

class EmbeddedRun final {
 public:
  EmbeddedRun(RunRequest request, exec::SpawnerClient spawner, const exec::EntryState& entry)
      : request_(std::move(request)),
        spawner_(std::move(spawner)),
        entry_(entry),
        start_(Clock::now()),
        signals_(entry),
        terminal_(entry.has_terminal ? Terminal::open() : Terminal()),
        streams_(request_.plan,
                 {.flow = request_.name, .mark_stderr = request_.mark_stderr, .records = request_.records}, marks_),
        flow_({.stages = streams_.seats().size(),
               .grace = request_.grace,
               .timeout = request_.timeout,
               .keep = request_.keep},
              start_),
        stalls_(request_.stall_timeout && can_stall(request_.plan)
                    ? std::optional<StallLooks>(std::in_place, *request_.stall_timeout)
                    : std::nullopt),
        progress_(request_.progress, start_, output_, samples_) {
    summary_.name = request_.name;
    summary_.rule = request_.pipefail;
    std::string host = host_name();
    for (const flow::PlannedStage& stage : request_.plan.stages) {
      flow::StageSummary& summary = summary_.stages.emplace_back();
      summary.name = stage.name;
      summary.command = stage.command;
      summary.host = host;
      for (std::uint32_t worker = 1; worker <= stage.workers; ++worker)
        summary.workers.push_back({.number = worker, .host = host});
    }
    ended_.resize(streams_.seats().size());
  }

  RunResult run() {
    exec::become_subreaper();
    if (launch()) {
      while (!flow_.finished() && !lost_ && !failed_to_start_) step();
    }
    return conclude();
  }

 private:
  // --- starting -------------------------------------------------------------------------------------------------

  bool launch() {
    if (auto opened = streams_.open_files(); !opened) {
      refuse(opened.error());
      return false;
    }
    exec::Launch launch;
    std::vector<UniqueFd> passed;
    if (progress_.active()) streams_.watch_inputs();
    auto programs = streams_.connect(passed);
    if (!programs) {
      refuse(fmt::format("cannot make the pipes of {} stages: {}; raise the limit (ulimit -n)",
                         request_.plan.stages.size(), std::strerror(programs.error())));
      return false;
    }
    launch.programs = *std::move(programs);
    launch.environment = request_.environment.entries();
    launch.directory = request_.directory;
    launch.process_group = entry_.has_terminal ? entry_.process_group : 0;
    launch.account_io = request_.json_summary || progress_.active();
    launch.observe_links = progress_.active();
    std::vector<int> descriptors;
    for (const UniqueFd& fd : passed) descriptors.push_back(fd.get());
    if (auto sent = spawner_.send_with(launch, descriptors); !sent) {
      refuse(fmt::format("cannot pass the pipes of {} stages to the spawner: {}; raise the limit (ulimit -n)",
                         request_.plan.stages.size(), std::strerror(sent.error())));
      return false;
    }
    return true;
  }

  // --- the loop -------------------------------------------------------------------------------------------------

  void step() {
    // First: what a signal ends is not to be run again.
    if (flow_.end() != flow::FlowEnd::completed) streams_.stop_jobs();
    act();
    if (flow_.finished()) return;
    wait();
    while (auto signal = signals_.next())
      flow_.on_signal(signal->number, signal->source, terminal_.is_raw(), Clock::now());
    move_streams();
    read_spawner();
    TimePoint now = Clock::now();
    // Whether the terminal is raw matters, and costs a system call, only when something is due.
    if (auto due = flow_.poll_deadline(); due && now >= *due) flow_.on_deadline(terminal_.is_raw(), now);
    look_for_stall(now);
    progress_.on_deadline(now, summary_, terminal_);
  }

  void look_for_stall(TimePoint now) {
    if (!stalls_ || !started_ || broken_status_ || now < stalls_->next) return;
    stalls_->next = now + stalls_->interval;
    auto found = stalls_->watch.on_look(streams_.stall_parties(), now);
    if (!found) return;
    if (found->stalled) return break_flow(kRefused, found->sentence);
    output_.say(found->sentence);
  }

  void wait() {
    polled_.clear();
    polled_.push_back({.fd = spawner_.descriptor(), .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = signals_.descriptor(), .events = POLLIN, .revents = 0});
    streams_.add_waits(polled_);
    if (auto waits = output_.waits()) polled_.push_back(*waits);
    std::size_t first_mark = polled_.size();
    if (output_.has_room())
      for (const StderrMarks::Source& source : marks_.sources())
        polled_.push_back({.fd = source.input.get(), .events = POLLIN, .revents = 0});
    ::poll(polled_.data(), polled_.size(), timeout_ms());
    output_.pump();
    for (std::size_t i = first_mark; i < polled_.size(); ++i)
      if (polled_[i].revents != 0) StderrMarks::pump(marks_.sources()[i - first_mark], output_);
  }

  int timeout_ms() const {
    auto due = flow_.poll_deadline();
    if (auto show = progress_.deadline()) due = due ? std::min(*due, *show) : *show;
    if (stalls_ && started_ && !broken_status_) due = due ? std::min(*due, stalls_->next) : stalls_->next;
    if (!due) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 1'000'000));
  }

  void move_streams() {
    streams_.move();
    while (auto event = streams_.poll_event()) std::visit([this](auto& what) { handle(what); }, *event);
  }

  void handle(InputOver& over) { spawner_.send(exec::ReleaseInput{over.program}); }
  void handle(RelayFailed& failure) {
    output_.say(fmt::format("the relay behind {} failed: {}; the stage behind it gets no more input",
                            title_of(request_.plan, failure.stage), std::strerror(failure.error)));
  }
  void handle(RecordsFailed& failure) {
    break_flow(failure.status, fmt::format("{}: {}", title_of(request_.plan, failure.stage), failure.why));
  }
  void handle(JunctionFailed& failure) { break_flow(kRefused, failure.why); }

  // The first reason counts.
  void break_flow(int status, const std::string& why) {
    if (broken_status_) return;
    broken_status_ = status;
    output_.say(why);
    flow_.on_broken(Clock::now());
  }

  // --- the spawner's events ---------------------------------------------------------------------------------------

  void read_spawner() {
    while (true) {
      auto event = spawner_.poll_event();
      if (!event) {
        lost_ = !flow_.finished() && !failed_to_start_;
        return;
      }
      if (!event->has_value()) return;
      std::visit([this](auto& message) { handle(message); }, **event);
    }
  }

  void handle(exec::Started& started) {
    for (std::size_t i = 0; i < started.pids.size(); ++i) {
      const ProgramSeat& seat = streams_.seats()[i];
      flow::StageSummary& stage = summary_.stages[seat.stage];
      (seat.worker > 0 ? stage.workers[seat.worker - 1].pid : stage.pid) = started.pids[i];
    }
    std::vector<link::PipeObserver> observers;
    for (std::uint32_t i = 0; i < started.observers; ++i) observers.emplace_back(spawner_.take_descriptor());
    samples_.watch(request_.plan, std::move(observers));
    for (auto& [stage, observer] : streams_.take_input_observers()) samples_.watch_input(stage, std::move(observer));
    streams_.start();
    started_ = true;
    release_standard_streams();
  }

  // A program outside that reads our stdout, or writes to our stdin, must see the stages' ends only, not ours.
  static void release_standard_streams() {
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (int stream : {STDIN_FILENO, STDOUT_FILENO})
      if (null) ::dup3(null.get(), stream, O_CLOEXEC);
  }

  void handle(exec::LaunchFailed& failure) {
    failed_to_start_ = true;
    std::size_t index = streams_.seats()[failure.program].stage;
    const flow::PlannedStage& stage = request_.plan.stages[index];
    bool executing = failure.action == "execute";
    bool file_is_there = ::access(stage.program.path.c_str(), F_OK) == 0;
    std::string why = std::strerror(failure.error);
    if (executing && failure.error == ENOENT && file_is_there) why = "its interpreter is missing";
    if (failure.error == EMFILE || failure.error == ENFILE) why += "; raise the limit (ulimit -n)";
    if (failure.error == EAGAIN) why += "; raise the limit (ulimit -u)";
    const std::string& what = executing ? stage.program.path : stage.command;
    refuse(fmt::format("{}: cannot {} {}: {}; nothing is left running", title_of(request_.plan, index), failure.action,
                       flow::on_one_line(what, 60), why));
    if (executing) status_ = failure.error == ENOENT ? 127 : 126;  // as bash has it, also for a missing interpreter
  }

  void handle(exec::Exited& exited) {
    const ProgramSeat& seat = streams_.seats()[exited.program];
    flow::StageSummary& stage = summary_.stages[seat.stage];
    flow::StageEnd end{.status = exec::ProcessStatus::from_wait(exited.wait_status),
                       .reader_done = reader_done(exited)};
    if (flow::runs_by_job(request_.plan.stages[seat.stage])) {
      move_streams();  // it has said how it ended before its program could
      if (auto status = streams_.status_of(seat.stage)) end.status = *status;
    }
    TimePoint now = Clock::now();
    ended_[exited.program] = true;
    bool first = !stage.end;
    if (seat.worker > 0) note_worker(seat, end);
    bool forgiven = seat.worker > 0 && request_.plan.losses_allowed && flow::was_lost(end);
    if (!forgiven) stage.end = first ? end : flow::worse(end, *stage.end);
    stage.io_known = exited.io_known && (stage.io_known || first);
    stage.io_read_bytes += exited.io_read_bytes;
    stage.io_write_bytes += exited.io_write_bytes;
    stage.cpu_us += exited.user_us + exited.system_us;
    stage.peak_memory_bytes = std::max(stage.peak_memory_bytes, exited.peak_memory_bytes);
    stage.duration = now - start_;
    flow_.on_stage_ended(exited.program, now);
  }

  void note_worker(const ProgramSeat& seat, const flow::StageEnd& end) {
    summary_.stages[seat.stage].workers[seat.worker - 1].end = end;
    if (!flow::was_lost(end) || request_.plan.losses_allowed || flow_.end() != flow::FlowEnd::completed) return;
    break_flow(end.status.shell_status(),
               fmt::format("worker {} of {} `{}` was ended by signal {}: what it had been given is lost, and the "
                           "flow is ended (--on-loss=continue goes on)",
                           seat.worker, title_of(request_.plan, seat.stage),
                           flow::on_one_line(request_.plan.stages[seat.stage].command, 60), end.status.signal()));
  }

  // Where the pipe can't be asked, SIGPIPE itself is the witness that nobody read it any more.
  static bool reader_done(const exec::Exited& exited) { return exited.output_reader != exec::Reader::open; }

  // After a failed launch some stages never ran: that they are gone is no end of the flow.
  void handle(exec::Childless&) {
    if (!failed_to_start_) flow_.on_childless();
  }

  void handle(exec::Survey& survey) {
    std::vector<flow::Straggler> stragglers;
    for (exec::Stray& stray : survey.strays)
      stragglers.push_back({.pid = stray.pid, .name = std::move(stray.name), .drains_pipe = stray.drains_pipe});
    flow_.on_stragglers(std::move(stragglers), Clock::now());
  }

  // --- the flow's actions -----------------------------------------------------------------------------------------

  void act() {
    while (auto action = flow_.poll_action()) std::visit([this](auto& what) { carry_out(what); }, *action);
  }

  void carry_out(flow::PassSignal& pass) {
    exec::SendSignal request{.signal = pass.signal, .strays_too = pass.strays_too, .then_continue = pass.then_continue};
    for (exec::ProgramIndex i = 0; i < ended_.size(); ++i)
      if (!ended_[i]) request.programs.push_back(i);
    spawner_.send(request);
    wake_spawner();
  }
  void carry_out(flow::AskForStragglers&) { spawner_.send(exec::RequestSurvey{}); }
  void carry_out(flow::KillEverything&) {
    spawner_.send(exec::EndAll{});
    wake_spawner();
  }

  // A stage can stop its parent (kill -STOP $PPID); what must be ended must not wait for that.
  void wake_spawner() const { ::kill(spawner_.pid(), SIGCONT); }

  void carry_out(flow::LeaveStragglers&) { spawner_.send(exec::Detach{}); }
  void carry_out(flow::TellAwaitingStragglers& tell) {
    inform(fmt::format("the stages have ended; waiting for what still reads from them: {} (Ctrl-C ends it)",
                       list_stragglers(tell.stragglers)));
  }
  void carry_out(flow::TellEndingStragglers& tell) {
    inform(fmt::format("the stages have ended, but left running: {}; ending that (--keep spares it)",
                       list_stragglers(tell.stragglers)));
  }
  void carry_out(flow::TellKilling&) {
    inform(fmt::format("not everything ended within the grace of {}; killing the rest (--grace)",
                       format_duration(request_.grace)));
  }
  void carry_out(flow::TellUnkillable& tell) {
    inform(fmt::format("still there after SIGKILL, of another user or stuck in the kernel: {}; waiting for it",
                       list_stragglers(tell.stragglers)));
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  RunResult conclude() {
    act();
    if (lost_) handle_lost_spawner();
    int interrupted_by = await_records();
    marks_.drain(output_);
    if (!lost_) finish_spawner();
    TimePoint now = Clock::now();
    if (failed_to_start_) {
      if (request_.json_summary) output_.put(to_json(flow::not_started(request_.name, request_.plan, status_)) + "\n");
      return {.status = status_, .signal = flush()};
    }
    streams_.count(summary_, request_.exact);
    settle_lost_stages();
    bool somebody_was_killed = std::ranges::any_of(
        summary_.stages, [](const auto& stage) { return !stage.end || stage.end->status.by_signal(); });
    if (somebody_was_killed) terminal_.restore();
    progress_.finish(now, summary_, terminal_);
    summary_.duration = now - start_;
    summary_.end = flow_.end();
    // The programs had ended, and what they wrote could not go on.
    if ((broken_status_ || lost_) && summary_.end == flow::FlowEnd::completed) summary_.end = flow::FlowEnd::broken;
    summary_.signal = flow_.signal();
    summary_.status = final_status();
    if (ended_by_withheld_signal()) {
      summary_.end = flow::FlowEnd::signalled;
      summary_.signal = flow_.withheld_signal();
    }
    report();
    if (int signal = flush(); signal != 0) interrupted_by = signal;
    bool signalled = summary_.end == flow::FlowEnd::signalled;
    return {.status = summary_.status, .signal = signalled ? summary_.signal : interrupted_by};
  }

  // What the last stage's workers wrote must still be read. Returns the signal that ended the wait, or 0.
  int await_records() {
    move_streams();
    while (!lost_ && !failed_to_start_ && flow_.end() == flow::FlowEnd::completed && !streams_.records_over()) {
      polled_.assign(1, {.fd = signals_.descriptor(), .events = POLLIN, .revents = 0});
      streams_.add_waits_for_records(polled_);
      ::poll(polled_.data(), polled_.size(), -1);
      move_streams();
      if (broken_status_) return 0;
      while (auto signal = signals_.next())
        if (signal->number != SIGUSR1 && signal->number != SIGUSR2) return signal->number;
    }
    return 0;
  }

  // A stage all of whose workers were lost has failed, whatever losses are allowed.
  void settle_lost_stages() {
    for (flow::StageSummary& stage : summary_.stages) {
      if (stage.end) continue;
      for (const flow::WorkerSummary& worker : stage.workers)
        if (worker.end) stage.end = stage.end ? flow::worse(*worker.end, *stage.end) : *worker.end;
    }
  }

  // Waits until the last message is read, as any program's write would, but for a signal that ends us; a flow that was
  // ended gives its reader the grace only. Returns that signal, or 0.
  int flush() {
    bool hurried = flow_.end() != flow::FlowEnd::completed;
    TimePoint give_up = Clock::now() + request_.grace;
    while (auto output = output_.waits()) {
      pollfd polled[] = {*output, {.fd = signals_.descriptor(), .events = POLLIN, .revents = 0}};
      auto left = std::chrono::ceil<std::chrono::milliseconds>(give_up - Clock::now()).count();
      if (hurried && left <= 0) return 0;
      ::poll(polled, 2, hurried ? static_cast<int>(std::min<decltype(left)>(left, 60'000)) : -1);
      output_.pump();
      while (auto signal = signals_.next())
        if (signal->number != SIGUSR1 && signal->number != SIGUSR2) return signal->number;
    }
    return 0;
  }

  // Ctrl-C at a password prompt was left to the stage, and the flow died by it: so must we, that a loop around us ends.
  // As in a shell, the last stage decides: a pager that took the Ctrl-C and went on has ended nothing, though its
  // feeder died.
  bool ended_by_withheld_signal() const {
    int signal = flow_.withheld_signal();
    if (lost_ || flow_.end() != flow::FlowEnd::completed || signal == 0) return false;
    const auto& end = summary_.stages.back().end;
    return end && end->status == exec::ProcessStatus::ended_by(signal);
  }

  void finish_spawner() {
    // It exits by itself; a request that it does not understand any more is lost with it.
    if (failed_to_start_) spawner_.send(exec::EndAll{});
    spawner_.wait();
  }

  void handle_lost_spawner() {
    // What the spawner was parent of has come to us. Direct children got their parent-death signal meanwhile.
    exec::end_all_children(entry_.children);
    std::string message =
        fmt::format("the spawner (pid {}) was killed; every process of the flow was ended", spawner_.pid());
    if (flow_.end() != flow::FlowEnd::signalled) output_.say(message);
    status_ = kRefused;
  }

  int final_status() const {
    if (lost_) return status_;
    if (broken_status_ && flow_.end() != flow::FlowEnd::signalled) return *broken_status_;
    if (flow_.end() == flow::FlowEnd::timed_out) return kTimedOut;
    if (flow_.end() == flow::FlowEnd::signalled) return 128 + flow_.signal();
    std::vector<flow::StageEnd> ends;
    for (const flow::StageSummary& stage : summary_.stages) {
      if (!stage.end) return kRefused;  // it was never started
      ends.push_back(*stage.end);
    }
    return flow::pipeline_status(ends, summary_.rule);
  }

  void report() {
    if (flow_.end() == flow::FlowEnd::timed_out)
      inform(fmt::format("timed out after {}; every stage was ended", format_duration(*request_.timeout)));
    if (summary_.end == flow::FlowEnd::completed && !lost_)
      for (const std::string& sentence : failure_sentences(summary_)) inform(sentence);
    report_losses();
    report_dead_letters();
    for (const std::string& sentence : drop_sentences(summary_)) output_.say(sentence);
    if (request_.json_summary) output_.put(to_json(summary_) + "\n");
  }

  void report_losses() {
    if (!request_.plan.losses_allowed || summary_.end != flow::FlowEnd::completed) return;
    for (std::size_t i = 0; i < summary_.stages.size(); ++i)
      for (const flow::WorkerSummary& worker : summary_.stages[i].workers)
        if (worker.end && flow::was_lost(*worker.end))
          output_.say(flow::loss_sentence(worker, title_of(request_.plan, i)));
  }

  void report_dead_letters() {
    for (const std::string& sentence : flow::dead_letter_sentences(summary_, request_.records.dead_letters))
      output_.say(sentence);
  }

  void inform(const std::string& message) {
    if (!request_.quiet) output_.say(message);
  }

  void refuse(const std::string& message) {
    output_.say(message);
    failed_to_start_ = true;
    status_ = kRefused;
  }

  RunRequest request_;
  exec::SpawnerClient spawner_;
  const exec::EntryState& entry_;
  TimePoint start_;
  Signals signals_;
  Terminal terminal_;
  StderrMarks marks_;
  EmbeddedStreams streams_;
  flow::FlowRun flow_;
  flow::FlowSummary summary_;
  StderrQueue output_;
  LocalProgress samples_;
  std::optional<StallLooks> stalls_;  // of a flow that can stall
  ProgressDisplay progress_;
  std::vector<bool> ended_;           // by program
  std::optional<int> broken_status_;  // the flow's, if it could not go on
  std::vector<pollfd> polled_;
  int status_ = 0;
  bool started_ = false;
  bool failed_to_start_ = false;
  bool lost_ = false;
};

}  // namespace

RunResult run_embedded(RunRequest request, exec::SpawnerClient spawner, const exec::EntryState& entry) {
  REQUIRE(request.plan.problems.empty());
  REQUIRE(!request.plan.stages.empty());
  return EmbeddedRun(std::move(request), std::move(spawner), entry).run();
}

void say(const std::string& message) { write_stderr_line("sluice: " + without_controls(message)); }

int print_to_stdout(std::string_view text) {
  ::signal(SIGPIPE, SIG_IGN);
  while (!text.empty()) {
    ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EPIPE) return 0;
    if (written < 0) {
      say(fmt::format("cannot write to stdout: {}", std::strerror(errno)));
      return 1;
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

void write_stderr_line(const std::string& line) {
  std::string whole = line + "\n";
  (void)!::write(STDERR_FILENO, whole.data(), whole.size());
}

}  // namespace sluice::node
