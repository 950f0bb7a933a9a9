#include "node/worker_stage.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <optional>
#include <utility>
#include <vector>

#include "flow/unsettled_outputs.h"
#include "link/local_stream.h"
#include "node/job_stage_thread.h"
#include "node/job_trouble.h"
#include "node/lasting_processes.h"
#include "node/worker_connection.h"
#include "node/worker_output.h"
#include "node/worker_trouble.h"

namespace sluice::node {
namespace {

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
// Between closing its connection and its end, for a process that said that it has finished; and for one that did not.
constexpr Duration kFinishedWait = 10s;
constexpr Duration kEndWait = 2s;
// For a worker that was refused, so that it can say why.
constexpr Duration kRefusalWait = 500ms;
// For a worker whose outputs nobody wants any more.
constexpr Duration kCancelWait = 2s;
// A worker that never stops writing must not keep the stage from its other duties.
constexpr std::uint32_t kReadsAtOnce = 8;
// Of one stage, of workers that are quiet.
constexpr std::uint32_t kQuietNotesMax = 5;

// What is between the stage and a worker's process, if it has one.
struct Seat {
  WorkerConnection connection;
  flow::UnsettledOutputs outputs;
  bool finished = false;              // it has said so
  bool idle = false;                  // ... and did not exit, and was ended for that
  bool doomed = false;                // what it says counts no more
  std::optional<TimePoint> kill_due;  // it is to be gone by then
};

class WorkerStageWork final : public JobStageWork {
 public:
  WorkerStageWork(JobStageFrame& frame, LocalStream into, WorkerStageOptions options)
      : frame_(frame),
        options_(std::move(options)),
        output_(std::move(into), frame.options().cut.framing, options_.ordered),
        work_(options_.work),
        processes_(frame, options_.work.workers),
        seats_(options_.work.workers) {}

  // --- input ------------------------------------------------------------------------------------------------------

  bool wants_input(LinkNumber link) const override { return work_.wants_input(link); }
  bool take(LinkNumber link, RecordBatch& records) override {
    return frame_.hand_over(link, records, [&](RecordBatch batch, Worker lane) {
      work_.on_batch(std::move(batch), {.lane = lane, .link = link});
    });
  }
  void on_source_end(LinkNumber link) override { work_.on_source_end(link); }
  void set_workers(std::uint32_t workers) override {
    work_.set_workers(workers);
    make_room(workers);
  }
  void on_joined(std::uint32_t worker) override {
    make_room(worker + 1);
    work_.on_joined(worker);
  }
  void on_leaving(std::uint32_t worker) override { work_.on_leaving(worker); }
  bool retired(std::uint32_t worker) const override { return work_.retired(worker) && !processes_.exists(worker); }

  bool drive() override {
    bool moved = false;
    for (Worker worker = 0; worker < seats_.size() && !frame_.ended(); ++worker) moved = drive(worker) || moved;
    return moved;
  }

  // --- output -----------------------------------------------------------------------------------------------------

  bool pass_on() override {
    bool moved = false;
    while (output_.stream().waiting() > 0 && !frame_.reader_gone() && !frame_.ended()) {
      auto outcome = output_.stream().write_some();
      if (outcome.status != LocalStream::Status::moved) return frame_.on_unwritten(outcome) || moved;
      moved = true;
    }
    return moved;
  }

  int output_descriptor() const override { return output_.stream().descriptor(); }
  bool output_waits() const override { return output_.stream().waiting() > 0; }
  // What the workers would still write is wanted no more.
  void on_reader_gone() override {
    output_.stream().drop();
    for (Worker worker = 0; worker < seats_.size(); ++worker) {
      if (!processes_.exists(worker)) continue;
      Seat& seat = seats_[worker];
      link::append_worker_frame(seat.connection.outgoing(), WorkerFrameKind::cancel);
      seat.connection.flush();
      seat.kill_due = frame_.now() + kCancelWait;
    }
  }
  void close_output() override { output_.stream().close(); }

  std::optional<Dead> poll_dead() override {
    auto dead = work_.poll_dead();
    if (!dead) return std::nullopt;
    processes_.pump_stderr(dead->worker);  // what it said of the record came before its failure, in another stream
    std::string record;
    link::append_framed(dead->record, frame_.options().cut.framing, record);
    return Dead{.number = dead->record.first(),
                .link = dead->link,
                .attempts = dead->attempts,
                .end = dead->end,
                .stderr_tail = processes_.stderr_tail(dead->worker),
                .record = std::move(record)};
  }

  void on_buried(const Dead& dead) override {
    output_.skip(dead.number);
    work_.on_buried();
  }

  // --- processes --------------------------------------------------------------------------------------------------

  void on_failed(const exec::JobFailed& failed) override { processes_.on_failed(failed); }
  void on_ended(const exec::JobEnded& ended) override { processes_.on_ended(ended); }
  void stop() override { work_.stop(); }

  // --- waiting ----------------------------------------------------------------------------------------------------

  void add_waits(std::vector<pollfd>& polled) override {
    processes_.add_waits(polled);
    for (const Seat& seat : seats_) {
      const WorkerConnection& connection = seat.connection;
      bool listens = connection.is_open() && !connection.ended();
      bool in = listens && hears(), out = listens && connection.unsent() > 0;
      short events = static_cast<short>((in ? POLLIN : 0) | (out ? POLLOUT : 0));
      polled.push_back({.fd = events != 0 ? connection.descriptor() : -1, .events = events, .revents = 0});
    }
  }

  void on_ready(std::span<const pollfd> polled) override { processes_.on_ready(polled); }

  void after_wait() override {
    if (!hears()) work_.on_deaf(frame_.now());
    while (auto quiet = work_.poll_quiet(frame_.now())) on_quiet(*quiet);
    conclude_processes();
    kill_overdue();
  }

  std::optional<TimePoint> deadline() override {
    std::optional<TimePoint> due = work_.poll_deadline();
    auto consider = [&](TimePoint point) { due = due ? std::min(*due, point) : point; };
    if (auto rated = frame_.rate_due(); rated && wants_any_input()) consider(*rated);
    if (auto over = hears() ? processes_.deadline() : std::nullopt) consider(*over);
    for (Worker worker = 0; worker < seats_.size(); ++worker)
      if (seats_[worker].kill_due && processes_.runs(worker)) consider(*seats_[worker].kill_due);
    return due;
  }

  std::optional<TimePoint> quiet_deadline() const override { return hears() ? work_.quiet_deadline() : std::nullopt; }

  // --- how it stands ----------------------------------------------------------------------------------------------

  std::optional<std::pair<int, std::string>> poll_broken() override {
    if (!work_.broken()) return std::nullopt;
    return worker_trouble(*work_.broken(), frame_.command(), options_.work.restart);
  }
  bool finished() const override { return work_.finished() && !output_waits() && none_runs(); }
  bool none_runs() const override { return processes_.none_exists(); }
  exec::ProcessStatus status() const override { return frame_.worst(); }

  void count() override {
    JobStageCounts& counts = frame_.counts();
    counts.output_bytes = output_.stream().written();
    counts.retried = work_.retried();
    counts.credit = work_.credit();
    for (Worker worker = 0; worker < seats_.size(); ++worker) counts.workers[worker].in_flight = work_.in_hand(worker);
    if (options_.work.links > 1) count_links(counts);
  }

  link::WorkerState state_of(std::uint32_t worker) const override {
    bool writes_by_itself = work_.is_source() && processes_.exists(worker);
    bool has_work = work_.in_hand(worker) > 0 || writes_by_itself;
    if (!hears() && (has_work || frame_.counts().waiting > 0)) return link::WorkerState::held_back;
    return has_work ? link::WorkerState::busy : link::WorkerState::idle;
  }

 private:
  using Worker = WorkerWork::Worker;

  void count_links(JobStageCounts& counts) const {
    for (LinkNumber link = 0; link < options_.work.links; ++link) {
      counts.links[link].waiting = work_.waiting(link);
      counts.links[link].in_flight = work_.in_hand_of(link);
      counts.links[link].full = work_.is_full(link);
    }
    counts.joins = work_.joins() && work_.is_steady();
  }

  bool wants_any_input() const {
    for (LinkNumber link = 0; link < options_.work.links; ++link)
      if (work_.wants_input(link)) return true;
    return false;
  }

  // --- workers ----------------------------------------------------------------------------------------------------

  void make_room(std::uint32_t workers) {
    processes_.make_room(workers);
    if (workers > seats_.size()) seats_.resize(workers);
  }

  bool drive(Worker worker) {
    Seat& seat = seats_[worker];
    bool moved = hear(worker);
    while (!frame_.ended()) {
      moved = seat.connection.flush() || moved;
      if (seat.connection.unsent() > kUnsentMax) return moved;
      if (processes_.has_ended(worker)) return moved;
      WorkerWork::Action action = work_.poll(worker, output_.limit(), frame_.now());
      switch (action.kind) {
        case WorkerWork::Action::Kind::nothing:
          return moved;
        case WorkerWork::Action::Kind::start:
          start(worker);
          break;
        case WorkerWork::Action::Kind::give:
          if (work_.in_hand(worker) == action.batch.count()) seat.connection.watch();
          frame_.counts().workers[worker].records_given += action.batch.count();
          link::append_worker_records(seat.connection.outgoing(), action.batch, action.attempt);
          break;
        case WorkerWork::Action::Kind::end:
          link::append_worker_frame(seat.connection.outgoing(), WorkerFrameKind::end);
          break;
        case WorkerWork::Action::Kind::kill:
          seat.doomed = true;
          seat.kill_due = frame_.now() + kRefusalWait;
          break;
      }
      moved = true;
    }
    return moved;
  }

  void start(Worker worker) {
    if (auto connected = connect(worker); !connected)
      return frame_.breaks(125, "no process can be started: " + trouble(connected.error()));
    Seat& seat = seats_[worker];
    seat.outputs.clear();
    seat.kill_due.reset();
    seat.finished = seat.doomed = seat.idle = false;
  }

  // The socket is its stdin; what it prints goes where its stderr goes.
  std::expected<void, int> connect(Worker worker) {
    auto ends = WorkerConnection::make(frame_.options().cut.record_max);
    if (!ends) return std::unexpected(ends.error());
    auto captured = processes_.capture_stderr(worker);
    if (!captured) return std::unexpected(captured.error());
    // Elsewhere its stderr goes where that of any stage there goes.
    bool kept_there = frame_.jobs().is_far() && !*captured && frame_.error() < 0;
    int error = kept_there ? -1 : *captured ? captured->get() : frame_.error_to();
    seats_[worker].connection = std::move(ends->first);
    return processes_.start(
        worker, {.input = ends->second.get(), .output = kept_there ? STDERR_FILENO : error, .error = error});
  }

  // --- what a worker says -----------------------------------------------------------------------------------------

  // With a reader that is slower than the workers, these are made to wait.
  bool hears() const { return !output_.full(); }

  bool hear(Worker worker) {
    Seat& seat = seats_[worker];
    bool moved = false;
    for (std::uint32_t reads = 0; reads < kReadsAtOnce; ++reads) {
      if (frame_.ended() || !hears() || !seat.connection.receive()) break;
      moved = true;
      take_frames(worker);
      seat.outputs.keep();
      if (seat.connection.ended()) on_closed(worker);
    }
    return moved;
  }

  void take_frames(Worker worker) {
    Seat& seat = seats_[worker];
    if (seat.doomed || frame_.reader_gone()) return seat.connection.drop_received();
    while (!frame_.ended()) {
      auto frame = seat.connection.next();
      if (!frame) return doom(worker, frame.error());
      if (!*frame) break;
      if (auto taken = take(worker, **frame); !taken) return doom(worker, taken.error());
    }
    std::size_t most = kUnsettledMax + frame_.options().cut.record_max;
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
        auto outputs = link::decode_worker_outputs(frame.body, frame_.options().cut.record_max);
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
        return work_.on_failed(worker, *failure, frame_.now());
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
    if (hello.source) frame_.close_taps();
    link::append_worker_welcome(seats_[worker].connection.outgoing(), {.concurrency = options_.work.concurrency,
                                                                       .worker = worker + 1,
                                                                       .record_max = frame_.options().cut.record_max,
                                                                       .flow = frame_.options().flow,
                                                                       .stage = frame_.options().text});
    return {};
  }

  WorkerWork::Outcome take_outputs(Worker worker, const link::WorkerOutputs& outputs) {
    Seat& seat = seats_[worker];
    WorkerWork::Outcome outcome;
    RecordId last = 0;
    outputs.for_each([&](RecordId id, std::string_view record) {
      if (!outcome || frame_.ended()) return;
      // Most often there is one for each, or many for the same.
      if (id != last || id == 0) outcome = work_.may_write(worker, last = id);
      if (!outcome) return;
      if (id != 0) return seat.outputs.put(id, record);
      note_passed(worker, output_.put(record));
    });
    return outcome;
  }

  void note_passed(Worker worker, const WorkerOutput::Passed& passed) {
    if (!passed)
      return frame_.breaks(125, fmt::format("worker {} {} {}", worker + 1, frame_.command(), passed.error()));
    frame_.counts().workers[worker].records_written += *passed;
  }

  WorkerWork::Outcome take_done(Worker worker, std::vector<WorkerRange> ranges) {
    for (const WorkerRange& range : ranges) {
      if (auto done = work_.on_done(worker, range, frame_.now()); !done) return done;
      frame_.counts().records_settled += range.count;
    }
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

  // It may be slow, and that is no fault. But one that had nothing else to do reads what it is given.
  void on_quiet(const WorkerWork::Quiet& quiet) {
    auto seconds = std::chrono::round<std::chrono::seconds>(options_.work.quiet_wait).count();
    if (quiet.was_idle && seats_[quiet.worker].connection.is_unread())
      return doom(quiet.worker, fmt::format("it has read nothing of what it was given for {} s", seconds));
    if (quiet_notes_++ < kQuietNotesMax)
      frame_.tell(quiet.worker, fmt::format("has had {} record{} in hand for {} s, and has settled none", quiet.in_hand,
                                            quiet.in_hand == 1 ? "" : "s", seconds));
  }

  void on_closed(Worker worker) {
    Seat& seat = seats_[worker];
    if (!seat.doomed && !seat.kill_due) seat.kill_due = frame_.now() + (seat.finished ? kFinishedWait : kEndWait);
  }

  // --- the end of a process ---------------------------------------------------------------------------------------

  // Those that have ended, and of whom everything was heard: or whose socket is held by what they left running.
  void conclude_processes() {
    for (Worker worker = 0; worker < seats_.size() && !frame_.ended(); ++worker) {
      Seat& seat = seats_[worker];
      if (!processes_.has_ended(worker)) continue;
      bool says_more = hear(worker);
      bool heard = !seat.connection.is_open() || seat.connection.ended();
      if ((!heard && (says_more || !hears())) || !processes_.is_over(worker, heard)) continue;
      seat.connection = WorkerConnection();
      seat.outputs.clear();
      seat.kill_due.reset();
      conclude(worker, processes_.remove(worker));
    }
  }

  void conclude(Worker worker, exec::ProcessStatus status) {
    if (seats_[worker].idle) status = exec::ProcessStatus::exited(0);
    bool cut_off = !work_.doomed_for(worker).empty();
    if (!cut_off) frame_.tell_if_joined(worker, status, work_.in_hand(worker));
    work_.on_ended(worker, flow::AttemptEnd::of(status), frame_.now());
    if (cut_off && !work_.broken() && !frame_.ending())
      frame_.tell(worker, fmt::format("was cut off: {}; what it had in hand runs again", work_.doomed_for(worker)));
    // Where another takes its place, or it was only lost, it is no failure of the stage.
    bool for_good = options_.work.restart == flow::Restart::never && !cut_off && !frame_.jobs().has_joined(worker);
    bool counts_for_stage = frame_.ending() || work_.broken() || (!status.by_signal() && for_good);
    if (!status.success() && counts_for_stage) frame_.set_worst(status);
  }

  void kill_overdue() {
    for (Worker worker = 0; worker < seats_.size(); ++worker) {
      Seat& seat = seats_[worker];
      if (!seat.kill_due || frame_.now() < *seat.kill_due || !processes_.runs(worker)) continue;
      seat.kill_due.reset();
      if (frame_.reader_gone() || seat.doomed)
        processes_.signal(worker, SIGKILL);
      else if (seat.finished)
        end_idle(worker);
      else
        doom(worker, "it closed its connection before it had finished");
    }
  }

  // All that it had to say was heard. What keeps it (an open connection, a timer) is no affair of the flow.
  void end_idle(Worker worker) {
    seats_[worker].idle = true;
    frame_.tell(worker, "has finished and does not exit; ending it");
    processes_.signal(worker, SIGKILL);
  }

  JobStageFrame& frame_;
  WorkerStageOptions options_;
  WorkerOutput output_;
  WorkerWork work_;
  LastingProcesses processes_;
  std::vector<Seat> seats_;  // of each worker
  std::uint32_t quiet_notes_ = 0;
};

}  // namespace

std::expected<std::unique_ptr<JobStage>, int> start_worker_stage(JobStageStreams streams, WorkerStageOptions options,
                                                                 std::function<void(JobStageEnd)> on_end) {
  auto make_work = [&](JobStageFrame& frame, LocalStream into) -> std::unique_ptr<JobStageWork> {
    return std::make_unique<WorkerStageWork>(frame, std::move(into), options);
  };
  return start_job_stage(std::move(streams), options.stage, options.work.workers, make_work, std::move(on_end));
}

}  // namespace sluice::node
