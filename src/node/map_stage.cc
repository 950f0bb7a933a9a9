#include "node/map_stage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/pipe.h"
#include "base/require.h"
#include "flow/quoting.h"
#include "link/large_pipes.h"
#include "link/local_stream.h"
#include "link/rate_limit.h"
#include "link/record_order.h"
#include "node/dead_letters.h"
#include "node/job_stage_thread.h"
#include "node/job_stderr.h"
#include "node/job_trouble.h"
#include "node/record_tap.h"

namespace sluice::node {
namespace {

using Kind = JobStageEnd::Kind;
using flow::AttemptEnd;
using flow::MapWork;
using link::LocalStream;
using link::RecordBatch;
using link::RecordId;
using namespace std::chrono_literals;

// Answers that wait for the reader, and those of @ordered that wait for their turn.
constexpr std::size_t kOutputMax = std::size_t{256} << 10, kOrderMax = std::size_t{8} << 20;
constexpr Duration kOutputLinger = 100ms;
constexpr Duration kBackgroundWait = 200ms;
// A process that was given all that it may be, has read it, and answers nothing for so long, keeps its answers.
constexpr Duration kStall = 20ms, kKeepsAnswers = 1s;
// One of a program that was seen to answer record by record is rather slow, but it may have changed its ways.
constexpr Duration kIsSlow = 30s;
constexpr std::size_t kFirstPipe = 4096;
// The pipe of a process that takes so many times its length within `kFast` is doubled.
constexpr std::size_t kFastPipes = 8;
constexpr Duration kFast = 50ms;
constexpr std::size_t kCommandColumns = 60;

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

// A worker and its process, if it has one.
struct Seat {
  exec::JobNumber job = 0;  // 0: none
  LocalStream input;
  LocalStream output;  // empty: nothing more comes
  JobStderr error;
  std::optional<link::RecordCutter> cutter;
  std::optional<Outgoing> giving;
  bool ends = false;  // behind what is being given
  std::optional<exec::ProcessStatus> status;
  TimePoint ended{};
  TimePoint moved{};        // when it took or answered something last
  Duration stall = kStall;  // how long after that it is taken for stalled
  std::size_t pipe = kFirstPipe;
  std::size_t taken = 0;  // since `taken_since`
  TimePoint taken_since{};
};

}  // namespace

class MapRunner final {
 public:
  MapRunner(LocalStream from, LocalStream into, JobStageStreams streams, MapStageOptions options)
      : options_(std::move(options)),
        tap_(std::move(from), options_.stage.cut),
        into_(std::move(into)),
        error_(std::move(streams.error)),
        jobs_(std::move(streams.jobs)),
        work_(options_.work),
        seats_(options_.work.workers) {
    counts_.workers.resize(options_.work.workers);
    if (options_.stage.rate) rate_.emplace(*options_.stage.rate);
  }

  JobStageEnd run(int stop, int wake) {
    while (!end_) {
      bool moved = step();
      if (!end_ && !moved && !wait(stop, wake)) end_ = JobStageEnd{.kind = Kind::reader_gone};
    }
    if (end_->kind != Kind::broken) into_ = LocalStream();
    return *end_;
  }

  void stop_starting() { stopped_ = true; }
  void add_seat(exec::JobClient seat) { jobs_.add(std::move(seat)); }
  /// The program has ended.
  // Whoever reads their stderr learns the end of it.
  void close_jobs() {
    jobs_.close();
    error_.reset();
  }

  JobStageCounts counts() {
    std::lock_guard lock(counts_mutex_);
    return counts_;
  }

 private:
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

  using Worker = MapWork::Worker;

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
    if (batch.empty()) return;
    if (!options_.stage.by) return work_.on_batch(std::move(batch));
    while (!batch.empty()) {
      RecordBatch record = batch.take_front(1);
      Worker lane = options_.stage.by->worker_for(bare(record), options_.work.workers);
      work_.on_batch(std::move(record), lane);
    }
  }

  // Without its delimiter.
  static std::string_view bare(const RecordBatch& record) {
    std::string_view bytes = record.bytes();
    return record.shape().layout == link::RecordLayout::delimited ? bytes.substr(0, bytes.size() - 1) : bytes;
  }

  // --- processes --------------------------------------------------------------------------------------------------

  RecordId limit() const { return options_.ordered && order_.bytes() > kOrderMax ? order_.next() : ~RecordId{0}; }

  bool drive(Worker worker) {
    Seat& seat = seats_[worker];
    bool moved = hear_answers(worker);
    while (!end_) {
      if (seat.giving && seat.input) {
        if (!write(worker)) return moved;
        moved = true;
        continue;
      }
      if (outgoing_bytes_ > kOutputMax) return moved;  // the reader comes first
      if (seat.job != 0 && (!seat.input || seat.status)) return moved;
      MapWork::Action action = work_.poll(worker, limit(), now_);
      switch (action.kind) {
        case MapWork::Action::Kind::nothing:
          return moved;
        case MapWork::Action::Kind::start:
          start(worker);
          break;
        case MapWork::Action::Kind::give:
          count([&](JobStageCounts& counts) { counts.workers[worker].records_given += action.batch.count(); });
          seat.giving.emplace(std::move(action.batch), tap_.framing());
          seat.ends = action.ends;
          break;
        case MapWork::Action::Kind::close:
          close_input(seat);
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
    seat.cutter.emplace(options_.stage.cut);
    seat.giving.reset();
    seat.ends = false;
    seat.status.reset();
    seat.pipe = kFirstPipe;
    seat.taken = 0;
    seat.moved = seat.taken_since = now_;
    count([](JobStageCounts& counts) { ++counts.jobs; });
  }

  std::expected<void, int> connect(Seat& seat) {
    auto input = make_pipe();
    if (!input) return std::unexpected(input.error());
    auto output = make_pipe();
    if (!output) return std::unexpected(output.error());
    UniqueFd error;
    seat.error = JobStderr();
    if (options_.stage.letters != nullptr) {
      auto opened = seat.error.open();
      if (!opened) return std::unexpected(opened.error());
      error = *std::move(opened);
    }
    (void)::fcntl(input->write_end.get(), F_SETPIPE_SZ, static_cast<int>(kFirstPipe));
    seat.job = ++last_job_;
    auto started = jobs_.start(seat.job, static_cast<std::uint32_t>(&seat - seats_.data()), {},
                               {.input = input->read_end.get(),
                                .output = output->write_end.get(),
                                .error = error ? error.get() : error_.get(),
                                .input_guard = input->write_end.get()});
    if (!started) return started;
    auto into = LocalStream::open(std::move(input->write_end), LocalStream::Direction::into, true);
    auto from = LocalStream::open(std::move(output->read_end), LocalStream::Direction::from, true);
    if (!into) return std::unexpected(into.error());
    if (!from) return std::unexpected(from.error());
    seat.input = *std::move(into);
    seat.output = *std::move(from);
    return {};
  }

  void close_input(Seat& seat) {
    seat.input = LocalStream();
    jobs_.release_input(seat.job);
  }

  // True: something was written, or there is nobody any more who would read it.
  bool write(Worker worker) {
    Seat& seat = seats_[worker];
    std::string_view rest = seat.giving->rest();
    auto outcome = seat.input.write_some(std::as_bytes(std::span(rest)));
    if (outcome.status == LocalStream::Status::would_block) return false;
    if (outcome.status != LocalStream::Status::moved) {
      close_input(seat);  // what it did not read it can't answer: its end decides what becomes of that
      return true;
    }
    seat.moved = now_;
    grow_pipe(seat, outcome.bytes);
    seat.giving->written += outcome.bytes;
    if (!seat.giving->rest().empty()) return true;
    seat.giving.reset();
    if (seat.ends) close_input(seat);
    return true;
  }

  void grow_pipe(Seat& seat, std::size_t bytes) {
    seat.taken += bytes;
    if (seat.taken < kFastPipes * seat.pipe) return;
    std::size_t most = link::large_pipe(2 * seats_.size());
    if (now_ - seat.taken_since < kFast && seat.pipe < most) {
      seat.pipe *= 2;
      seat.input.enlarge(seat.pipe);
      seat.output.enlarge(seat.pipe);
    }
    seat.taken = 0;
    seat.taken_since = now_;
  }

  // --- answers ----------------------------------------------------------------------------------------------------

  // With a reader that is slower than the processes, these are made to wait.
  bool hears() const { return outgoing_bytes_ <= kOutputMax; }

  bool hear_answers(Worker worker) {
    Seat& seat = seats_[worker];
    bool moved = false;
    while (seat.output && hears() && !end_) {
      auto outcome = seat.output.read_some(seat.cutter->room());
      switch (outcome.status) {
        case LocalStream::Status::moved:
          seat.moved = now_;
          seat.stall = kStall;
          moved = true;
          if (!take(worker, seat.cutter->on_bytes(outcome.bytes))) return true;
          break;
        case LocalStream::Status::ended:
          seat.output = LocalStream();  // whether a last answer without its end is one, the status will say
          return true;
        case LocalStream::Status::failed:
          breaks(125, fmt::format("reading the answers failed: {}", std::strerror(outcome.error)));
          return true;
        case LocalStream::Status::would_block:
        case LocalStream::Status::in_background:
        case LocalStream::Status::reader_gone:
          return moved;
      }
    }
    return moved;
  }

  bool take(Worker worker, std::expected<RecordBatch, std::string> answers) {
    if (!answers) {
      breaks(125, fmt::format("{}: {}", command(), answers.error()));
      return false;
    }
    if (answers->empty()) return true;
    auto answered = work_.on_answers(worker, answers->count(), now_);
    if (!answered) {
      breaks(125, fmt::format("{}: {}", command(), answered.error()));
      return false;
    }
    count([&](JobStageCounts& counts) { counts.workers[worker].records_written += answers->count(); });
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
    Outgoing& outgoing = outgoing_.emplace_back(std::move(batch), tap_.framing());
    outgoing_bytes_ += outgoing.rest().size();
  }

  bool pass_on() {
    bool moved = false;
    while (!outgoing_.empty() && !reader_gone_ && !end_) {
      Outgoing& outgoing = outgoing_.front();
      std::string_view rest = outgoing.rest();
      auto outcome = into_.write_some(std::as_bytes(std::span(rest)));
      if (outcome.status == LocalStream::Status::would_block) break;
      moved = true;
      if (outcome.status == LocalStream::Status::failed)
        breaks(125, fmt::format("writing the output failed: {}", std::strerror(outcome.error)));
      else if (outcome.status != LocalStream::Status::moved)
        lose_reader();
      else
        on_written(outgoing, outcome.bytes);
    }
    return moved;
  }

  void on_written(Outgoing& outgoing, std::size_t bytes) {
    outgoing.written += bytes;
    outgoing_bytes_ -= bytes;
    output_bytes_ += bytes;
    if (outgoing.rest().empty()) outgoing_.pop_front();
  }

  // As in a shell, who writes for nobody gets SIGPIPE.
  void lose_reader() {
    reader_gone_ = true;
    work_.stop();
    tap_.close();
    outgoing_.clear();
    outgoing_bytes_ = 0;
    for (Seat& seat : seats_) {
      seat.output = LocalStream();
      if (seat.job != 0) close_input(seat);
    }
  }

  // --- the end of a process ---------------------------------------------------------------------------------------

  void hear_jobs() {
    bool open = jobs_.receive();
    while (auto event = jobs_.poll_event()) std::visit([this](const auto& what) { handle(what); }, *event);
    if (!open && jobs_.all_seats_lost()) return breaks(125, "every host that its processes ran on was lost");
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

  // Those that have ended, and whose answers are all there: or are held open by what they left running.
  bool conclude_processes() {
    bool concluded = false;
    for (Worker worker = 0; worker < seats_.size() && !end_; ++worker) {
      Seat& seat = seats_[worker];
      if (!seat.status || (seat.output && (!hears() || now_ < seat.ended + kOutputLinger))) continue;
      seat.error.pump(error_to());
      if (!seat.error.passed_on() && !ending()) continue;
      seat.output = LocalStream();
      // A process that was stopped may have been in the middle of an answer.
      if (seat.status->success()) take(worker, seat.cutter->on_end());
      if (end_) return true;
      seat.input = LocalStream();
      seat.giving.reset();
      seat.job = 0;
      conclude(worker, *std::exchange(seat.status, std::nullopt));
      concluded = true;
    }
    return concluded;
  }

  void conclude(Worker worker, exec::ProcessStatus status) {
    AttemptEnd::Kind kind = status.success()     ? AttemptEnd::Kind::succeeded
                            : status.by_signal() ? AttemptEnd::Kind::lost
                                                 : AttemptEnd::Kind::failed;
    bool owes = work_.unanswered(worker) > 0;
    work_.on_ended(worker, {.kind = kind, .status = status, .why = {}}, now_);
    // What runs again, or was only lost, is no failure of the stage.
    bool counts_for_stage = ending() || work_.broken() || (!owes && !status.by_signal() && !jobs_.has_joined(worker));
    if (!status.success() && counts_for_stage) worst_ = status;
    count([&](JobStageCounts& counts) { counts.retried = work_.retried(); });
  }

  int error_to() const { return error_ ? error_.get() : STDERR_FILENO; }

  bool bury() {
    bool moved = false;
    while (auto dead = work_.poll_dead()) {
      moved = true;
      std::string record;
      link::append_framed(dead->record, tap_.framing(), record);
      DeadLetter letter{.flow = options_.stage.flow,
                        .stage = options_.stage.stage,
                        .command = options_.stage.text,
                        .number = dead->record.first(),
                        .attempts = dead->attempts,
                        .end = dead->end,
                        .stderr_tail = seats_[dead->worker].error.tail(),
                        .record = std::move(record)};
      if (auto buried = options_.stage.letters->bury(letter); !buried) {
        breaks(125, buried.error());
        return true;
      }
      if (options_.ordered) {
        order_.skip(dead->record.first(), 1);
        put_out_in_order();
      }
      count([](JobStageCounts& counts) { ++counts.dead; });
      work_.on_buried();
    }
    return moved;
  }

  void judge() {
    count([&](JobStageCounts& counts) {
      counts.input_bytes = tap_.bytes();
      counts.output_bytes = output_bytes_;
    });
    bool none_runs = std::ranges::all_of(seats_, [](const Seat& seat) { return seat.job == 0; });
    if (work_.broken() && !ending()) return judge_broken(*work_.broken());
    if (ending() && none_runs)
      end_ = JobStageEnd{.kind = reader_gone_ ? Kind::reader_gone : Kind::ended,
                         .status = reader_gone_ ? exec::ProcessStatus::ended_by(SIGPIPE) : worst_};
    else if (work_.finished() && outgoing_.empty() && none_runs)
      end_ = JobStageEnd{.kind = Kind::ended, .status = worst_};
  }

  void judge_broken(const MapWork::Broken& broken) {
    const exec::ProcessStatus status = broken.end.status;
    std::string how = status.by_signal() ? fmt::format("was ended by signal {}", status.signal())
                                         : fmt::format("exited with status {}", status.exit_code());
    std::string who = fmt::format("worker {} {}", broken.worker + 1, command());
    if (broken.unanswered == 0)
      return breaks(status.success() ? 125 : status.shell_status(),
                    fmt::format("{} {} before its input ended; a program of @map answers every record", who, how));
    if (status.success())
      return breaks(125, fmt::format("{} {} and left {} record{} unanswered; a program of @map writes one record for "
                                     "each that it reads",
                                     who, how, broken.unanswered, broken.unanswered == 1 ? "" : "s"));
    if (broken.attempts > 1)
      return breaks(status.shell_status(),
                    fmt::format("{} {} by the same record for the {} time; --dead-letter FILE lets the rest go on", who,
                                how, ordinal(broken.attempts)));
    breaks(
        status.shell_status(),
        fmt::format("{} {} with {} record{} unanswered; --retries tries again, --dead-letter FILE lets the rest go on",
                    who, how, broken.unanswered, broken.unanswered == 1 ? "" : "s"));
  }

  static std::string ordinal(std::uint32_t number) {
    const char* suffix = number % 100 / 10 == 1 ? "th"
                         : number % 10 == 1     ? "st"
                         : number % 10 == 2     ? "nd"
                         : number % 10 == 3     ? "rd"
                                                : "th";
    return fmt::format("{}{}", number, suffix);
  }

  // --- waiting ----------------------------------------------------------------------------------------------------

  // False: told to stop.
  bool wait(int stop, int wake) {
    bool waits_for_input = reads() && tap_.records().empty();
    short into_events = outgoing_.empty() ? 0 : POLLOUT;  // without events: only that nobody reads any more
    polled_.clear();
    polled_.push_back({.fd = stop, .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = wake, .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = jobs_.descriptor(), .events = jobs_.events(), .revents = 0});
    polled_.push_back({.fd = reader_gone_ ? -1 : into_.descriptor(), .events = into_events, .revents = 0});
    bool in_background = waits_for_input && tap_.in_background();
    polled_.push_back(
        {.fd = waits_for_input && !in_background ? tap_.descriptor() : -1, .events = POLLIN, .revents = 0});
    std::size_t first_error = polled_.size();
    for (const Seat& seat : seats_) polled_.push_back(seat.error.waits(error_to()));
    for (const Seat& seat : seats_) {
      bool writes = seat.giving && seat.input;
      polled_.push_back({.fd = hears() ? seat.output.descriptor() : -1, .events = POLLIN, .revents = 0});
      polled_.push_back({.fd = writes ? seat.input.descriptor() : -1, .events = POLLOUT, .revents = 0});
    }
    ::poll(polled_.data(), polled_.size(), timeout_ms(in_background));
    now_ = Clock::now();
    if (polled_[0].revents != 0) return false;
    if (polled_[1].revents != 0) drain(wake);
    if ((polled_[3].revents & POLLERR) != 0) lose_reader();
    for (std::size_t i = 0; i < seats_.size(); ++i)
      if (polled_[first_error + i].revents != 0) seats_[i].error.pump(error_to());
    if (polled_[2].revents != 0) {
      jobs_.flush();
      hear_jobs();
      for (Worker worker = 0; worker < seats_.size() && !end_; ++worker)
        if (seats_[worker].status) hear_answers(worker);
    }
    conclude_processes();
    help_stalled();
    return true;
  }

  static void drain(int wake) {
    std::uint64_t count = 0;
    (void)!::read(wake, &count, sizeof count);
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
      if (now_ < help_due(seat) || !may_keep_answers(worker)) continue;
      if (!has_read_all(seat)) {
        seat.moved = now_;
        continue;
      }
      const Duration patience = work_.answers_one_by_one() ? kIsSlow : kKeepsAnswers;
      seat.stall = std::min(2 * seat.stall, patience);
      if (!work_.on_stalled(worker) && now_ >= seat.moved + patience) work_.flush(worker);
    }
  }
  static TimePoint help_due(const Seat& seat) { return seat.moved + seat.stall; }

  int timeout_ms(bool in_background) const {
    std::optional<TimePoint> due = work_.poll_deadline();
    auto consider = [&](TimePoint point) { due = due ? std::min(*due, point) : point; };
    if (rate_ && reads() && tap_.has_records()) consider(rate_->next());
    if (in_background) consider(now_ + kBackgroundWait);
    for (Worker worker = 0; worker < seats_.size(); ++worker) {
      if (seats_[worker].status && hears() && seats_[worker].error.passed_on())
        consider(seats_[worker].ended + kOutputLinger);
      if (may_keep_answers(worker)) consider(help_due(seats_[worker]));
    }
    if (!due) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000));
  }

  MapStageOptions options_;
  RecordTap tap_;
  LocalStream into_;
  UniqueFd error_;
  StageJobs jobs_;
  MapWork work_;
  std::vector<Seat> seats_;
  std::optional<link::RateLimit> rate_;
  link::RecordOrder order_;
  std::deque<Outgoing> outgoing_;
  std::size_t outgoing_bytes_ = 0;
  std::uint64_t output_bytes_ = 0;
  exec::JobNumber last_job_ = 0;
  TimePoint now_{};
  std::vector<pollfd> polled_;
  std::atomic<bool> stopped_ = false;
  bool reader_gone_ = false;
  bool told_end_ = false;
  exec::ProcessStatus worst_ = exec::ProcessStatus::exited(0);
  std::optional<JobStageEnd> end_;
  std::mutex counts_mutex_;
  JobStageCounts counts_;
};

std::expected<std::unique_ptr<JobStage>, int> start_map_stage(JobStageStreams streams, MapStageOptions options,
                                                              std::function<void(JobStageEnd)> on_end) {
  return JobStageThread<MapRunner>::start(std::move(streams), std::move(options), std::move(on_end));
}

}  // namespace sluice::node
