#include "node/map_stage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/pipe.h"
#include "link/large_pipes.h"
#include "link/local_stream.h"
#include "link/record_order.h"
#include "node/job_stage_thread.h"
#include "node/job_trouble.h"
#include "node/lasting_processes.h"
#include "node/map_trouble.h"

namespace sluice::node {
namespace {

using flow::MapWork;
using link::LocalStream;
using link::RecordBatch;
using link::RecordId;
using namespace std::chrono_literals;

// Answers that wait for the reader, and those of @ordered that wait for their turn.
constexpr std::size_t kOutputMax = std::size_t{256} << 10, kOrderMax = std::size_t{8} << 20;
// A process that was given all that it may be, has read it, and answers nothing for so long, keeps its answers.
constexpr Duration kStall = 20ms, kKeepsAnswers = 1s;
// One of a program that was seen to answer record by record is rather slow, but it may have changed its ways.
constexpr Duration kIsSlow = 30s;
constexpr std::size_t kFirstPipe = 4096;
// The pipe of a process that takes so many times its length within `kFast` is doubled.
constexpr std::size_t kFastPipes = 8;
constexpr Duration kFast = 50ms;

// What is written, in the bytes of the stream.
struct Outgoing {
  RecordBatch batch;
  std::string framed;  // if the stream's bytes are others than the batch's
  std::size_t written = 0;

  Outgoing(RecordBatch records, link::RecordFraming framing) : batch(std::move(records)) {
    if (batch.shape().layout == link::RecordLayout::sized) link::append_framed(batch, framing, framed);
  }
  std::string_view rest() const { return (framed.empty() ? batch.bytes() : std::string_view(framed)).substr(written); }
};

// What is between the stage and a worker's process, if it has one.
struct Seat {
  LocalStream input;
  LocalStream output;  // empty: nothing more comes
  std::optional<link::RecordCutter> cutter;
  std::optional<Outgoing> giving;
  bool ends = false;        // behind what is being given
  TimePoint moved{};        // when it took or answered something last
  Duration stall = kStall;  // how long after that it is taken for stalled
  std::size_t pipe = kFirstPipe;
  std::size_t taken = 0;  // since `taken_since`
  TimePoint taken_since{};
};

class MapStageWork final : public JobStageWork {
 public:
  MapStageWork(JobStageFrame& frame, LocalStream into, MapStageOptions options)
      : frame_(frame),
        options_(std::move(options)),
        into_(std::move(into)),
        work_(options_.work),
        processes_(frame, options_.work.workers),
        seats_(options_.work.workers) {}

  // --- input ------------------------------------------------------------------------------------------------------

  bool wants_input(LinkNumber) const override { return work_.wants_input(); }
  bool take(LinkNumber link, RecordBatch& records) override {
    return frame_.hand_over(link, records,
                            [this](RecordBatch batch, Worker lane) { work_.on_batch(std::move(batch), lane); });
  }
  void on_source_end(LinkNumber) override { work_.on_source_end(); }
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
    while (!outgoing_.empty() && !frame_.reader_gone() && !frame_.ended()) {
      Outgoing& outgoing = outgoing_.front();
      std::string_view rest = outgoing.rest();
      auto outcome = into_.write_some(std::as_bytes(std::span(rest)));
      if (outcome.status != LocalStream::Status::moved) return frame_.on_unwritten(outcome) || moved;
      moved = true;
      on_written(outgoing, outcome.bytes);
    }
    return moved;
  }

  int output_descriptor() const override { return into_.descriptor(); }
  bool output_waits() const override { return !outgoing_.empty(); }
  void on_reader_gone() override {
    outgoing_.clear();
    outgoing_bytes_ = 0;
    for (Worker worker = 0; worker < seats_.size(); ++worker) {
      seats_[worker].output = LocalStream();
      if (processes_.exists(worker)) close_input(worker);
    }
  }
  void close_output() override { into_ = LocalStream(); }

  std::optional<Dead> poll_dead() override {
    auto dead = work_.poll_dead();
    if (!dead) return std::nullopt;
    std::string record;
    link::append_framed(dead->record, framing(), record);
    return Dead{.number = dead->record.first(),
                .attempts = dead->attempts,
                .end = dead->end,
                .stderr_tail = processes_.stderr_tail(dead->worker),
                .record = std::move(record)};
  }

  void on_buried(const Dead& dead) override {
    if (options_.ordered) {
      order_.skip(dead.number, 1);
      put_out_in_order();
    }
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
      bool writes = seat.giving && seat.input;
      polled.push_back({.fd = hears() ? seat.output.descriptor() : -1, .events = POLLIN, .revents = 0});
      polled.push_back({.fd = writes ? seat.input.descriptor() : -1, .events = POLLOUT, .revents = 0});
    }
  }

  void on_ready(std::span<const pollfd> polled) override { processes_.on_ready(polled); }

  void after_wait() override {
    conclude_processes();
    help_stalled();
  }

  std::optional<TimePoint> deadline() override {
    std::optional<TimePoint> due = work_.poll_deadline();
    auto consider = [&](TimePoint point) { due = due ? std::min(*due, point) : point; };
    if (auto rated = work_.wants_input() ? frame_.rate_due() : std::nullopt) consider(*rated);
    if (auto over = hears() ? processes_.deadline() : std::nullopt) consider(*over);
    for (Worker worker = 0; worker < seats_.size(); ++worker)
      if (may_keep_answers(worker)) consider(help_due(seats_[worker]));
    return due;
  }

  // --- how it stands ----------------------------------------------------------------------------------------------

  std::optional<std::pair<int, std::string>> poll_broken() override {
    if (!work_.broken()) return std::nullopt;
    return map_trouble(*work_.broken(), frame_.command());
  }
  bool finished() const override { return work_.finished() && outgoing_.empty() && none_runs(); }
  bool none_runs() const override { return processes_.none_exists(); }
  exec::ProcessStatus status() const override { return frame_.worst(); }

  void count() override {
    JobStageCounts& counts = frame_.counts();
    counts.output_bytes = output_bytes_;
    counts.retried = work_.retried();
    counts.credit = work_.credit();
    for (Worker worker = 0; worker < seats_.size(); ++worker)
      counts.workers[worker].in_flight = work_.unanswered(worker);
  }

  link::WorkerState state_of(std::uint32_t worker) const override {
    bool has_work = work_.unanswered(worker) > 0;
    if (!hears() && (has_work || frame_.counts().waiting > 0)) return link::WorkerState::held_back;
    return has_work ? link::WorkerState::busy : link::WorkerState::idle;
  }

 private:
  using Worker = MapWork::Worker;

  link::RecordFraming framing() const { return frame_.options().cut.framing; }

  void make_room(std::uint32_t workers) {
    processes_.make_room(workers);
    if (workers > seats_.size()) seats_.resize(workers);
  }

  // --- processes --------------------------------------------------------------------------------------------------

  RecordId limit() const { return options_.ordered && order_.bytes() > kOrderMax ? order_.next() : ~RecordId{0}; }

  bool drive(Worker worker) {
    Seat& seat = seats_[worker];
    bool moved = hear_answers(worker);
    while (!frame_.ended()) {
      if (seat.giving && seat.input) {
        if (!write(worker)) return moved;
        moved = true;
        continue;
      }
      if (outgoing_bytes_ > kOutputMax) return moved;  // the reader comes first
      if (processes_.exists(worker) && (!seat.input || processes_.has_ended(worker))) return moved;
      MapWork::Action action = work_.poll(worker, limit(), frame_.now());
      switch (action.kind) {
        case MapWork::Action::Kind::nothing:
          return moved;
        case MapWork::Action::Kind::start:
          start(worker);
          break;
        case MapWork::Action::Kind::give:
          frame_.counts().workers[worker].records_given += action.batch.count();
          seat.giving.emplace(std::move(action.batch), framing());
          seat.ends = action.ends;
          break;
        case MapWork::Action::Kind::close:
          close_input(worker);
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
    seat.cutter.emplace(frame_.options().cut);
    seat.giving.reset();
    seat.ends = false;
    seat.pipe = kFirstPipe;
    seat.taken = 0;
    seat.moved = seat.taken_since = frame_.now();
  }

  std::expected<void, int> connect(Worker worker) {
    auto input = make_pipe();
    if (!input) return std::unexpected(input.error());
    auto output = make_pipe();
    if (!output) return std::unexpected(output.error());
    auto error = processes_.capture_stderr(worker);
    if (!error) return std::unexpected(error.error());
    (void)::fcntl(input->write_end.get(), F_SETPIPE_SZ, static_cast<int>(kFirstPipe));
    auto into = LocalStream::open(std::move(input->write_end), LocalStream::Direction::into, true);
    auto from = LocalStream::open(std::move(output->read_end), LocalStream::Direction::from, true);
    if (!into) return std::unexpected(into.error());
    if (!from) return std::unexpected(from.error());
    Seat& seat = seats_[worker];
    seat.input = *std::move(into);
    seat.output = *std::move(from);
    return processes_.start(worker, {.input = input->read_end.get(),
                                     .output = output->write_end.get(),
                                     .error = *error ? error->get() : frame_.error(),
                                     .input_guard = seat.input.descriptor()});
  }

  void close_input(Worker worker) {
    seats_[worker].input = LocalStream();
    processes_.release_input(worker);
  }

  // True: something was written, or there is nobody any more who would read it.
  bool write(Worker worker) {
    Seat& seat = seats_[worker];
    std::string_view rest = seat.giving->rest();
    auto outcome = seat.input.write_some(std::as_bytes(std::span(rest)));
    if (outcome.status == LocalStream::Status::would_block) return false;
    if (outcome.status != LocalStream::Status::moved) {
      close_input(worker);  // what it did not read it can't answer: its end decides what becomes of that
      return true;
    }
    seat.moved = frame_.now();
    grow_pipe(seat, outcome.bytes);
    seat.giving->written += outcome.bytes;
    if (!seat.giving->rest().empty()) return true;
    seat.giving.reset();
    if (seat.ends) close_input(worker);
    return true;
  }

  void grow_pipe(Seat& seat, std::size_t bytes) {
    seat.taken += bytes;
    if (seat.taken < kFastPipes * seat.pipe) return;
    std::size_t most = link::large_pipe(2 * seats_.size());
    if (frame_.now() - seat.taken_since < kFast && seat.pipe < most) {
      seat.pipe *= 2;
      seat.input.enlarge(seat.pipe);
      seat.output.enlarge(seat.pipe);
    }
    seat.taken = 0;
    seat.taken_since = frame_.now();
  }

  // --- answers ----------------------------------------------------------------------------------------------------

  // With a reader that is slower than the processes, these are made to wait.
  bool hears() const { return outgoing_bytes_ <= kOutputMax; }

  bool hear_answers(Worker worker) {
    Seat& seat = seats_[worker];
    bool moved = false;
    while (seat.output && hears() && !frame_.ended()) {
      auto outcome = seat.output.read_some(seat.cutter->room());
      switch (outcome.status) {
        case LocalStream::Status::moved:
          seat.moved = frame_.now();
          seat.stall = kStall;
          moved = true;
          if (!take_answers(worker, seat.cutter->on_bytes(outcome.bytes))) return true;
          break;
        case LocalStream::Status::ended:
          seat.output = LocalStream();  // whether a last answer without its end is one, the status will say
          return true;
        case LocalStream::Status::failed:
          frame_.breaks(125, fmt::format("reading the answers failed: {}", std::strerror(outcome.error)));
          return true;
        case LocalStream::Status::would_block:
        case LocalStream::Status::in_background:
        case LocalStream::Status::reader_gone:
          return moved;
      }
    }
    return moved;
  }

  bool take_answers(Worker worker, std::expected<RecordBatch, std::string> answers) {
    if (!answers) {
      frame_.breaks(125, fmt::format("{}: {}", frame_.command(), answers.error()));
      return false;
    }
    if (answers->empty()) return true;
    auto answered = work_.on_answers(worker, answers->count(), frame_.now());
    if (!answered) {
      frame_.breaks(125, fmt::format("{}: {}", frame_.command(), answered.error()));
      return false;
    }
    frame_.counts().workers[worker].records_written += answers->count();
    frame_.counts().records_settled += answers->count();
    if (!options_.ordered) {
      put_out(*std::move(answers));
      return true;
    }
    for (const MapWork::Answered& range : *answered) order_.put(range.first, answers->take_front(range.count));
    put_out_in_order();
    return true;
  }

  void put_out_in_order() {
    while (auto batch = order_.poll()) put_out(*std::move(batch));
  }

  void put_out(RecordBatch batch) {
    Outgoing& outgoing = outgoing_.emplace_back(std::move(batch), framing());
    outgoing_bytes_ += outgoing.rest().size();
  }

  void on_written(Outgoing& outgoing, std::size_t bytes) {
    outgoing.written += bytes;
    outgoing_bytes_ -= bytes;
    output_bytes_ += bytes;
    if (outgoing.rest().empty()) outgoing_.pop_front();
  }

  // --- the end of a process ---------------------------------------------------------------------------------------

  // Those that have ended, and whose answers are all there: or are held open by what they left running.
  void conclude_processes() {
    for (Worker worker = 0; worker < seats_.size() && !frame_.ended(); ++worker) {
      Seat& seat = seats_[worker];
      if (!processes_.has_ended(worker)) continue;
      hear_answers(worker);
      if (frame_.ended()) return;
      bool heard = !seat.output;
      if ((!heard && !hears()) || !processes_.is_over(worker, heard)) continue;
      exec::ProcessStatus status = processes_.remove(worker);
      seat.output = LocalStream();
      // A process that was stopped may have been in the middle of an answer.
      if (status.success()) take_answers(worker, seat.cutter->on_end());
      if (frame_.ended()) return;
      seat.input = LocalStream();
      seat.giving.reset();
      conclude(worker, status);
    }
  }

  void conclude(Worker worker, exec::ProcessStatus status) {
    frame_.tell_if_joined(worker, status, work_.unanswered(worker));
    bool owes = work_.unanswered(worker) > 0;
    work_.on_ended(worker, flow::AttemptEnd::of(status), frame_.now());
    // What runs again, or was only lost, is no failure of the stage.
    bool counts_for_stage =
        frame_.ending() || work_.broken() || (!owes && !status.by_signal() && !frame_.jobs().has_joined(worker));
    if (!status.success() && counts_for_stage) frame_.set_worst(status);
  }

  // It may be given no more before it answers; if it has read all that, it keeps its answers.
  bool may_keep_answers(Worker worker) const {
    const Seat& seat = seats_[worker];
    if (!seat.input || seat.giving || work_.unanswered(worker) == 0 || !work_.streaming(worker) || !hears())
      return false;
    bool holds_all_back = options_.ordered && order_.bytes() > kOrderMax && work_.oldest(worker) == order_.next();
    return holds_all_back || work_.full(worker);
  }

  static bool has_read_all(const Seat& seat) {
    int unread = 0;
    return ::ioctl(seat.input.descriptor(), FIONREAD, &unread) == 0 && unread == 0;
  }

  // First it is given more; when that has an end, it is told the end of its input.
  void help_stalled() {
    for (Worker worker = 0; worker < seats_.size(); ++worker) {
      Seat& seat = seats_[worker];
      if (frame_.now() < help_due(seat) || !may_keep_answers(worker)) continue;
      if (!has_read_all(seat)) {
        seat.moved = frame_.now();
        continue;
      }
      const Duration patience = work_.answers_one_by_one() ? kIsSlow : kKeepsAnswers;
      seat.stall = std::min(2 * seat.stall, patience);
      if (!work_.on_stalled(worker) && frame_.now() >= seat.moved + patience) work_.flush(worker);
    }
  }
  static TimePoint help_due(const Seat& seat) { return seat.moved + seat.stall; }

  JobStageFrame& frame_;
  MapStageOptions options_;
  LocalStream into_;
  MapWork work_;
  LastingProcesses processes_;
  std::vector<Seat> seats_;  // of each worker
  link::RecordOrder order_;
  std::deque<Outgoing> outgoing_;
  std::size_t outgoing_bytes_ = 0;
  std::uint64_t output_bytes_ = 0;
};

}  // namespace

std::expected<std::unique_ptr<JobStage>, int> start_map_stage(JobStageStreams streams, MapStageOptions options,
                                                              std::function<void(JobStageEnd)> on_end) {
  auto make_work = [&](JobStageFrame& frame, LocalStream into) -> std::unique_ptr<JobStageWork> {
    return std::make_unique<MapStageWork>(frame, std::move(into), options);
  };
  return start_job_stage(std::move(streams), options.stage, options.work.workers, make_work, std::move(on_end));
}

}  // namespace sluice::node
