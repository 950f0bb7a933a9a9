#include "node/worker_stage.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/require.h"
#include "flow/quoting.h"
#include "flow/unsettled_outputs.h"
#include "link/large_pipes.h"
#include "link/local_stream.h"
#include "link/rate_limit.h"
#include "node/dead_letters.h"
#include "node/job_stage_thread.h"
#include "node/job_stderr.h"
#include "node/job_trouble.h"
#include "node/record_tap.h"
#include "node/worker_connection.h"
#include "node/worker_output.h"
#include "node/worker_trouble.h"

namespace sluice::node {
namespace {

using Kind = JobStageEnd::Kind;
using flow::AttemptEnd;
using flow::WorkerWork;
using link::LocalStream;
using link::RecordBatch;
using link::RecordId;
using link::WorkerFrame;
using link::WorkerFrameKind;
using link::WorkerRange;
using namespace std::chrono_literals;

// What one worker has written for records that it has not settled.
constexpr std::size_t kUnsettledMax = std::size_t{128} << 20;  // and one longest record
// Frames that wait for a worker to read them; one record may be longer.
constexpr std::size_t kUnsentMax = std::size_t{128} << 10;
// What a process that has ended leaves open is read no longer than that.
constexpr Duration kOutputLinger = 100ms;
// Between closing its connection and its end, for a process that said that it has finished; and for one that did not.
constexpr Duration kFinishedWait = 10s;
constexpr Duration kEndWait = 2s;
// For a worker that was refused, so that it can say why.
constexpr Duration kRefusalWait = 500ms;
// For a worker whose outputs nobody wants any more.
constexpr Duration kCancelWait = 2s;
constexpr Duration kBackgroundWait = 200ms;
// A worker that never stops writing must not keep the stage from its other duties.
constexpr std::uint32_t kReadsAtOnce = 8, kStepsMax = 64;
constexpr std::size_t kCommandColumns = 60;

// A worker and its process, if it has one.
struct Seat {
  exec::JobNumber job = 0;  // 0: none
  WorkerConnection connection;
  flow::UnsettledOutputs outputs;
  JobStderr error;
  std::optional<exec::ProcessStatus> status;
  TimePoint ended{};
  bool finished = false;              // it has said so
  bool idle = false;                  // ... and did not exit, and was ended for that
  bool doomed = false;                // what it says counts no more
  std::optional<TimePoint> kill_due;  // it is to be gone by then
};

}  // namespace

class WorkerRunner final {
 public:
  WorkerRunner(LocalStream from, LocalStream into, JobStageStreams streams, WorkerStageOptions options)
      : options_(std::move(options)),
        tap_(std::move(from), options_.stage.cut),
        output_(std::move(into), options_.stage.cut.framing, options_.ordered),
        error_(std::move(streams.error)),
        jobs_(std::move(streams.jobs)),
        work_(options_.work),
        seats_(options_.work.workers) {
    counts_.workers.resize(options_.work.workers);
    given_.resize(options_.work.workers);
    written_.resize(options_.work.workers);
    if (options_.stage.rate) rate_.emplace(*options_.stage.rate);
  }

  JobStageEnd run(int stop, int wake) {
    for (std::uint32_t steps = 1; !end_; ++steps) {
      bool moved = step();
      bool looks = !moved || steps % kStepsMax == 0;
      if (!end_ && looks && !wait(stop, wake, !moved)) end_ = JobStageEnd{.kind = Kind::reader_gone};
    }
    if (end_->kind != Kind::broken) output_.stream().close();
    return *end_;
  }

  void stop_starting() { stopped_ = true; }
  void add_seat(exec::JobClient seat) { jobs_.add(std::move(seat)); }
  /// The program has ended.
  void close_jobs() {
    jobs_.close();
    error_.reset();
  }

  JobStageCounts counts() {
    std::lock_guard lock(counts_mutex_);
    return counts_;
  }

 private:
  using Worker = WorkerWork::Worker;

  // True: something was moved.
  bool step() {
    now_ = Clock::now();
    if (stopped_) work_.stop();
    hear_changes();
    bool moved = read();
    for (Worker worker = 0; worker < seats_.size() && !end_; ++worker) moved = drive(worker) || moved;
    if (!end_) moved = pass_on() || moved;
    if (!end_) moved = bury() || moved;
    if (!end_) judge();
    return moved;
  }

  template <class Change>
  void count(Change&& change) {
    std::lock_guard lock(counts_mutex_);
    change(counts_);
  }

  void breaks(int status, std::string why) {
    if (end_) return;
    end_ = JobStageEnd{.kind = Kind::broken, .status = exec::ProcessStatus::exited(status), .why = std::move(why)};
  }
  std::string command() const { return "`" + flow::on_one_line(options_.stage.text, kCommandColumns) + "`"; }
  bool ending() const { return stopped_ || reader_gone_; }

  // --- workers that come and go -----------------------------------------------------------------------------------

  void hear_changes() {
    while (auto change = jobs_.poll_change()) {
      if (change->kind != StageJobs::SeatChange::Kind::joined) {
        work_.on_leaving(change->worker);
        continue;
      }
      if (change->worker == seats_.size()) {
        seats_.emplace_back();
        given_.push_back(0);
        written_.push_back(0);
        count([](JobStageCounts& counts) { counts.workers.emplace_back(); });
      }
      work_.on_joined(change->worker);
    }
    for (Worker worker = 0; worker < seats_.size(); ++worker) {
      bool over = jobs_.has_joined(worker) && work_.retired(worker) && seats_[worker].job == 0;
      if (over && !jobs_.is_released(worker)) jobs_.release(worker);
    }
  }

  // --- input ------------------------------------------------------------------------------------------------------

  bool reads() const { return !ending() && !told_end_ && work_.wants_input(); }

  bool read() {
    if (!reads()) return false;
    switch (tap_.read()) {
      case RecordTap::Status::failed:
        breaks(125, tap_.why());
        return false;
      case RecordTap::Status::nothing:
        return false;
      case RecordTap::Status::ended:
        work_.on_source_end();
        return told_end_ = true;
      case RecordTap::Status::moved:
        break;
    }
    RecordBatch& records = tap_.records();
    if (records.empty()) return true;  // it has read a part of one
    std::uint32_t allowed = rate_ ? std::min(rate_->allowed(now_), records.count()) : records.count();
    if (allowed == 0) return false;
    if (rate_) rate_->take(now_, allowed);
    hand_over(records.take_front(allowed));
    return true;
  }

  void hand_over(RecordBatch batch) {
    if (!options_.stage.by) return work_.on_batch(std::move(batch));
    while (!batch.empty()) {
      RecordBatch record = batch.take_front(1);
      std::string_view bytes = record.bytes();
      if (record.shape().layout == link::RecordLayout::delimited) bytes.remove_suffix(1);
      work_.on_batch(std::move(record), options_.stage.by->worker_for(bytes, options_.work.workers));
    }
  }

  // --- workers ----------------------------------------------------------------------------------------------------

  bool drive(Worker worker) {
    Seat& seat = seats_[worker];
    bool moved = hear(worker);
    while (!end_) {
      moved = seat.connection.flush() || moved;
      if (seat.connection.unsent() > kUnsentMax) return moved;
      if (seat.job != 0 && seat.status) return moved;
      WorkerWork::Action action = work_.poll(worker, output_.limit(), now_);
      switch (action.kind) {
        case WorkerWork::Action::Kind::nothing:
          return moved;
        case WorkerWork::Action::Kind::start:
          start(worker);
          break;
        case WorkerWork::Action::Kind::give:
          given_[worker] += action.batch.count();
          link::append_worker_records(seat.connection.outgoing(), action.batch, action.attempt);
          break;
        case WorkerWork::Action::Kind::end:
          link::append_worker_frame(seat.connection.outgoing(), WorkerFrameKind::end);
          break;
        case WorkerWork::Action::Kind::kill:
          seat.doomed = true;
          seat.kill_due = now_ + kRefusalWait;
          break;
      }
      moved = true;
    }
    return moved;
  }

  void start(Worker worker) {
    Seat& seat = seats_[worker];
    if (auto connected = connect(seat); !connected)
      return breaks(125, "no process can be started: " + trouble(connected.error()));
    seat.outputs.clear();
    seat.status.reset();
    seat.kill_due.reset();
    seat.finished = seat.doomed = seat.idle = false;
    count([](JobStageCounts& counts) { ++counts.jobs; });
  }

  // The socket is its stdin; what it prints goes where its stderr goes.
  std::expected<void, int> connect(Seat& seat) {
    auto ends = WorkerConnection::make(options_.stage.cut.record_max);
    if (!ends) return std::unexpected(ends.error());
    seat.error = JobStderr();
    UniqueFd captured;
    if (options_.stage.letters != nullptr) {
      auto opened = seat.error.open();
      if (!opened) return std::unexpected(opened.error());
      captured = *std::move(opened);
    }
    // Elsewhere its stderr goes where that of any stage there goes.
    bool kept_there = jobs_.is_far() && !captured && !error_;
    int error = kept_there ? -1 : captured ? captured.get() : error_to();
    seat.job = ++last_job_;
    auto started =
        jobs_.start(seat.job, static_cast<std::uint32_t>(&seat - seats_.data()), {},
                    {.input = ends->second.get(), .output = kept_there ? STDERR_FILENO : error, .error = error});
    if (!started) return started;
    seat.connection = std::move(ends->first);
    return {};
  }

  // --- what a worker says -----------------------------------------------------------------------------------------

  // With a reader that is slower than the workers, these are made to wait.
  bool hears() const { return !output_.full(); }

  bool hear(Worker worker) {
    Seat& seat = seats_[worker];
    bool moved = false;
    for (std::uint32_t reads = 0; reads < kReadsAtOnce; ++reads) {
      if (end_ || !hears() || !seat.connection.receive()) break;
      moved = true;
      take_frames(worker);
      seat.outputs.keep();
      if (seat.connection.ended()) on_closed(worker);
    }
    return moved;
  }

  void take_frames(Worker worker) {
    Seat& seat = seats_[worker];
    if (seat.doomed || reader_gone_) return seat.connection.drop_received();
    while (!end_) {
      auto frame = seat.connection.next();
      if (!frame) return doom(worker, frame.error());
      if (!*frame) break;
      if (auto taken = take(worker, **frame); !taken) return doom(worker, taken.error());
    }
    std::size_t most = kUnsettledMax + options_.stage.cut.record_max;
    if (seat.outputs.bytes() > most)
      doom(worker,
           fmt::format("it has written more than {} MiB for records that it has not said are done", most >> 20));
  }

  WorkerWork::Outcome take(Worker worker, const WorkerFrame& frame) {
    switch (frame.kind) {
      case WorkerFrameKind::hello: {
        auto hello = link::decode_worker_hello(frame.body);
        return hello ? welcome(worker, *hello) : std::unexpected(hello.error());
      }
      case WorkerFrameKind::credit: {
        auto credit = link::decode_worker_credit(frame.body);
        return credit ? work_.on_credit(worker, *credit) : std::unexpected(credit.error());
      }
      case WorkerFrameKind::outputs: {
        auto outputs = link::decode_worker_outputs(frame.body, options_.stage.cut.record_max);
        return outputs ? take_outputs(worker, *outputs) : std::unexpected(outputs.error());
      }
      case WorkerFrameKind::done: {
        auto ranges = link::decode_worker_done(frame.body);
        return ranges ? take_done(worker, *std::move(ranges)) : std::unexpected(ranges.error());
      }
      case WorkerFrameKind::fail: {
        auto failure = link::decode_worker_failure(frame.body);
        if (!failure) return std::unexpected(failure.error());
        seats_[worker].outputs.drop(failure->record);
        return work_.on_failed(worker, *failure, now_);
      }
      case WorkerFrameKind::leave:
        return work_.on_leave(worker);
      case WorkerFrameKind::finished:
        seats_[worker].finished = true;
        return work_.on_finished(worker);
      case WorkerFrameKind::refuse:
        return std::unexpected("it refuses to go on: " + std::string(frame.body.substr(0, link::kWorkerTextMax)));
      case WorkerFrameKind::welcome:
      case WorkerFrameKind::records:
      case WorkerFrameKind::end:
      case WorkerFrameKind::cancel:
        break;
    }
    return std::unexpected("it sent a frame that only a stage sends");
  }

  WorkerWork::Outcome welcome(Worker worker, const link::WorkerHello& hello) {
    if (auto said = work_.on_hello(worker, hello); !said) return said;
    if (hello.source) tap_.close();
    link::append_worker_welcome(seats_[worker].connection.outgoing(), {.concurrency = options_.work.concurrency,
                                                                       .worker = worker + 1,
                                                                       .record_max = options_.stage.cut.record_max,
                                                                       .flow = options_.stage.flow,
                                                                       .stage = options_.stage.text});
    return {};
  }

  WorkerWork::Outcome take_outputs(Worker worker, const link::WorkerOutputs& outputs) {
    Seat& seat = seats_[worker];
    WorkerWork::Outcome outcome;
    RecordId last = 0;
    outputs.for_each([&](RecordId id, std::string_view record) {
      if (!outcome || end_) return;
      // Most often there is one for each, or many for the same.
      if (id != last || id == 0) outcome = work_.may_write(worker, last = id);
      if (!outcome) return;
      if (id != 0) return seat.outputs.put(id, record);
      note_passed(worker, output_.put(record));
    });
    return outcome;
  }

  void note_passed(Worker worker, const WorkerOutput::Passed& passed) {
    if (!passed) return breaks(125, fmt::format("worker {} {} {}", worker + 1, command(), passed.error()));
    written_[worker] += *passed;
  }

  WorkerWork::Outcome take_done(Worker worker, std::vector<WorkerRange> ranges) {
    for (const WorkerRange& range : ranges)
      if (auto done = work_.on_done(worker, range, now_); !done) return done;
    std::ranges::sort(ranges, {}, &WorkerRange::first);
    note_passed(worker, output_.settle(seats_[worker].outputs, ranges));
    return {};
  }

  // It has lost its seat: what it has is run elsewhere once its process is gone.
  void doom(Worker worker, const std::string& why) {
    Seat& seat = seats_[worker];
    link::append_worker_refusal(seat.connection.outgoing(), why);
    seat.connection.flush();
    seat.doomed = true;
    seat.outputs.clear();
    work_.doom(worker, why);
  }

  void on_closed(Worker worker) {
    Seat& seat = seats_[worker];
    if (!seat.doomed && !seat.kill_due) seat.kill_due = now_ + (seat.finished ? kFinishedWait : kEndWait);
  }

  // --- output -----------------------------------------------------------------------------------------------------

  bool pass_on() {
    bool moved = false;
    while (output_.stream().waiting() > 0 && !reader_gone_ && !end_) {
      auto outcome = output_.stream().write_some();
      if (outcome.status == LocalStream::Status::would_block) break;
      moved = true;
      if (outcome.status == LocalStream::Status::failed)
        breaks(125, fmt::format("writing the output failed: {}", std::strerror(outcome.error)));
      else if (outcome.status == LocalStream::Status::reader_gone)
        lose_reader();
    }
    return moved;
  }

  // What the workers would still write is wanted no more.
  void lose_reader() {
    reader_gone_ = true;
    work_.stop();
    tap_.close();
    output_.stream().drop();
    for (Seat& seat : seats_) {
      if (seat.job == 0) continue;
      link::append_worker_frame(seat.connection.outgoing(), WorkerFrameKind::cancel);
      seat.connection.flush();
      seat.kill_due = now_ + kCancelWait;
    }
  }

  // --- the end of a process ---------------------------------------------------------------------------------------

  void hear_jobs() {
    bool open = jobs_.receive();
    while (auto event = jobs_.poll_event()) std::visit([this](const auto& what) { handle(what); }, *event);
    // The spawner takes no more: the flow was ended, with every process.
    if (!open && !end_) end_ = JobStageEnd{.kind = Kind::ended, .status = exec::ProcessStatus::ended_by(SIGKILL)};
  }

  Seat& seat_of(exec::JobNumber job) {
    auto seat = std::ranges::find(seats_, job, &Seat::job);
    INVARIANT(seat != seats_.end());
    return *seat;
  }

  void handle(const exec::JobStarted&) {}
  void handle(const exec::JobsRefused&) {}  // poll_change says it

  void handle(const exec::JobFailed& failed) {
    if (failed.error == ECANCELED) {  // the flow is being ended
      Seat& seat = seat_of(failed.job);
      seat.status = exec::ProcessStatus::ended_by(SIGTERM);
      seat.ended = now_;
      return;
    }
    int status = failed.action != "execute" ? 125 : failed.error == ENOENT ? 127 : 126;
    breaks(status, fmt::format("cannot {} {}: {}", failed.action, command(), trouble(failed.error)));
  }

  void handle(const exec::JobEnded& ended) {
    Seat& seat = seat_of(ended.job);
    seat.status = exec::ProcessStatus::from_wait(ended.wait_status);
    seat.ended = Clock::now();
    count([&](JobStageCounts& counts) {
      counts.cpu_us += ended.user_us + ended.system_us;
      counts.peak_memory_bytes = std::max(counts.peak_memory_bytes, ended.peak_memory_bytes);
    });
  }

  // Those that have ended, and of whom everything was heard: or whose socket is held by what they left running.
  void conclude_processes() {
    for (Worker worker = 0; worker < seats_.size() && !end_; ++worker) {
      Seat& seat = seats_[worker];
      if (!seat.status) continue;
      hear(worker);
      bool heard = !seat.connection.is_open() || seat.connection.ended();
      if (!heard && (!hears() || now_ < seat.ended + kOutputLinger)) continue;
      seat.error.pump(error_to());
      if (!seat.error.passed_on() && !ending()) continue;
      seat.connection = WorkerConnection();
      seat.outputs.clear();
      seat.job = 0;
      seat.kill_due.reset();
      conclude(worker, *std::exchange(seat.status, std::nullopt));
    }
  }

  void conclude(Worker worker, exec::ProcessStatus status) {
    if (seats_[worker].idle) status = exec::ProcessStatus::exited(0);
    AttemptEnd::Kind kind = status.success()     ? AttemptEnd::Kind::succeeded
                            : status.by_signal() ? AttemptEnd::Kind::lost
                                                 : AttemptEnd::Kind::failed;
    work_.on_ended(worker, {.kind = kind, .status = status, .why = {}}, now_);
    // Where another takes its place, or it was only lost, it is no failure of the stage.
    bool for_good = options_.work.restart == flow::Restart::never && !jobs_.has_joined(worker);
    bool counts_for_stage = ending() || work_.broken() || (!status.by_signal() && for_good);
    if (!status.success() && counts_for_stage) worst_ = status;
    count([&](JobStageCounts& counts) { counts.retried = work_.retried(); });
  }

  void kill_overdue() {
    for (Worker worker = 0; worker < seats_.size(); ++worker) {
      Seat& seat = seats_[worker];
      if (!seat.kill_due || now_ < *seat.kill_due || seat.job == 0 || seat.status) continue;
      seat.kill_due.reset();
      if (reader_gone_ || seat.doomed)
        jobs_.signal(seat.job, SIGKILL);
      else if (seat.finished)
        end_idle(worker);
      else
        doom(worker, "it closed its connection before it had finished");
    }
  }

  // All that it had to say was heard. What keeps it (an open connection, a timer) is no affair of the flow.
  void end_idle(Worker worker) {
    seats_[worker].idle = true;
    std::string said =
        fmt::format("sluice: worker {} {} has finished and does not exit; ending it\n", worker + 1, command());
    (void)!::write(error_to(), said.data(), said.size());
    jobs_.signal(seats_[worker].job, SIGKILL);
  }

  int error_to() const { return error_ ? error_.get() : STDERR_FILENO; }

  bool bury() {
    bool moved = false;
    while (auto dead = work_.poll_dead()) {
      moved = true;
      JobStderr& error = seats_[dead->worker].error;
      error.pump(error_to());  // what it said of the record came before its failure, in another stream
      std::string record;
      link::append_framed(dead->record, tap_.framing(), record);
      DeadLetter letter{.flow = options_.stage.flow,
                        .stage = options_.stage.stage,
                        .command = options_.stage.text,
                        .number = dead->record.first(),
                        .attempts = dead->attempts,
                        .end = dead->end,
                        .stderr_tail = error.tail(),
                        .record = std::move(record)};
      if (auto buried = options_.stage.letters->bury(letter); !buried) {
        breaks(125, buried.error());
        return true;
      }
      output_.skip(dead->record.first());
      count([](JobStageCounts& counts) { ++counts.dead; });
      work_.on_buried();
    }
    return moved;
  }

  void judge() {
    count([&](JobStageCounts& counts) {
      counts.input_bytes = tap_.bytes();
      counts.output_bytes = output_.stream().written();
      for (std::size_t i = 0; i < seats_.size(); ++i) counts.workers[i] = {given_[i], written_[i]};
      counts.retried = work_.retried();
    });
    bool none_runs = std::ranges::all_of(seats_, [](const Seat& seat) { return seat.job == 0; });
    if (work_.broken() && !ending()) {
      auto [status, why] = worker_trouble(*work_.broken(), command(), options_.work.restart);
      return breaks(status, std::move(why));
    }
    if (ending() && none_runs)
      end_ = JobStageEnd{.kind = reader_gone_ ? Kind::reader_gone : Kind::ended,
                         .status = reader_gone_ ? exec::ProcessStatus::ended_by(SIGPIPE) : worst_};
    else if (work_.finished() && output_.stream().waiting() == 0 && none_runs)
      end_ = JobStageEnd{.kind = Kind::ended, .status = worst_};
  }

  // --- waiting ----------------------------------------------------------------------------------------------------

  // For something to happen, or only looks whether it has. False: told to stop.
  bool wait(int stop, int wake, bool blocks) {
    bool waits_for_input = reads() && tap_.records().empty();
    short into_events =
        output_.stream().waiting() == 0 ? 0 : POLLOUT;  // without events: only that nobody reads any more
    polled_.clear();
    polled_.push_back({.fd = stop, .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = wake, .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = jobs_.descriptor(), .events = jobs_.events(), .revents = 0});
    polled_.push_back({.fd = reader_gone_ ? -1 : output_.stream().descriptor(), .events = into_events, .revents = 0});
    bool in_background = waits_for_input && tap_.in_background();
    polled_.push_back(
        {.fd = waits_for_input && !in_background ? tap_.descriptor() : -1, .events = POLLIN, .revents = 0});
    std::size_t first_error = polled_.size();
    for (const Seat& seat : seats_) polled_.push_back(seat.error.waits(error_to()));
    for (const Seat& seat : seats_) {
      const WorkerConnection& connection = seat.connection;
      bool listens = connection.is_open() && !connection.ended();
      bool in = listens && hears(), out = listens && connection.unsent() > 0;
      short events = static_cast<short>((in ? POLLIN : 0) | (out ? POLLOUT : 0));
      polled_.push_back({.fd = events != 0 ? connection.descriptor() : -1, .events = events, .revents = 0});
    }
    ::poll(polled_.data(), polled_.size(), blocks ? timeout_ms(in_background) : 0);
    now_ = Clock::now();
    if (polled_[0].revents != 0) return false;
    if (polled_[1].revents != 0) drain(wake);
    if ((polled_[3].revents & POLLERR) != 0) lose_reader();
    for (std::size_t i = 0; i < seats_.size(); ++i)
      if (polled_[first_error + i].revents != 0) seats_[i].error.pump(error_to());
    if (polled_[2].revents != 0) {
      jobs_.flush();
      hear_jobs();
    }
    conclude_processes();
    kill_overdue();
    return true;
  }

  static void drain(int wake) {
    std::uint64_t count = 0;
    (void)!::read(wake, &count, sizeof count);
  }

  int timeout_ms(bool in_background) const {
    std::optional<TimePoint> due = work_.poll_deadline();
    auto consider = [&](TimePoint point) { due = due ? std::min(*due, point) : point; };
    if (rate_ && reads() && tap_.has_records()) consider(rate_->next());
    if (in_background) consider(now_ + kBackgroundWait);
    for (const Seat& seat : seats_) {
      if (seat.status && hears() && seat.error.passed_on()) consider(seat.ended + kOutputLinger);
      if (seat.kill_due && seat.job != 0 && !seat.status) consider(*seat.kill_due);
    }
    if (!due) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000));
  }

  WorkerStageOptions options_;
  RecordTap tap_;
  WorkerOutput output_;
  UniqueFd error_;
  StageJobs jobs_;
  WorkerWork work_;
  std::vector<Seat> seats_;
  std::optional<link::RateLimit> rate_;
  exec::JobNumber last_job_ = 0;
  TimePoint now_{};
  std::vector<pollfd> polled_;
  std::atomic<bool> stopped_ = false;
  bool reader_gone_ = false;
  bool told_end_ = false;
  exec::ProcessStatus worst_ = exec::ProcessStatus::exited(0);
  std::optional<JobStageEnd> end_;
  std::vector<std::uint64_t> given_, written_;
  std::mutex counts_mutex_;
  JobStageCounts counts_;
};

std::expected<std::unique_ptr<JobStage>, int> start_worker_stage(JobStageStreams streams, WorkerStageOptions options,
                                                                 std::function<void(JobStageEnd)> on_end) {
  return JobStageThread<WorkerRunner>::start(std::move(streams), std::move(options), std::move(on_end));
}

}  // namespace sluice::node
