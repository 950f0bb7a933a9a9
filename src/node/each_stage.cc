#include "node/each_stage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "base/pipe.h"
#include "base/require.h"
#include "flow/quoting.h"
#include "link/local_stream.h"
#include "link/rate_limit.h"
#include "node/dead_letters.h"
#include "node/held_output.h"
#include "node/job_input.h"
#include "node/job_log.h"
#include "node/job_stage_thread.h"
#include "node/job_stderr.h"
#include "node/job_trouble.h"
#include "node/record_tap.h"

namespace sluice::node {
namespace {

using Kind = JobStageEnd::Kind;
using flow::AttemptEnd;
using flow::BatchNumber;
using flow::EachWork;
using link::LocalStream;
using namespace std::chrono_literals;

// What the records that wait for a process may take of our memory.
constexpr std::size_t kWaitingBytesMax = std::size_t{1} << 20;
// After a process has ended, what it has left running may hold its output open for so long.
constexpr Duration kOutputLinger = 100ms;
// Processes that run so long keep a worker waiting for the next to be asked for: it is asked for ahead.
constexpr Duration kShort = 20ms;
// Each output that is kept in a file is a descriptor, of which a process has 1,024.
constexpr std::size_t kFilesHeldMax = 128;
constexpr std::size_t kReadSize = std::size_t{64} << 10;
// How soon a terminal is looked at again that another process group reads now.
constexpr Duration kBackgroundWait = 200ms;
constexpr std::size_t kCommandColumns = 60;  // in a message

struct Batch {
  std::string bytes;     // as the records stood in the stream; until they have been run
  std::size_t size = 0;  // of them, then
  std::uint32_t records = 0;
};

struct Job {
  BatchNumber batch = 0;
  EachWork::Worker worker = 0;
  UniqueFd output;  // empty: nothing more comes
  JobStderr error;
  HeldOutput held;
  double started_s = 0;  // since 1970
  TimePoint started{};
  std::vector<std::string> arguments;         // if they are not the stage's own
  std::optional<exec::ProcessStatus> status;  // it has ended
  TimePoint ended{};
};

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool readable_now(int descriptor) {
  pollfd readable{.fd = descriptor, .events = POLLIN, .revents = 0};
  return ::poll(&readable, 1, 0) > 0;
}

std::string_view without_framing(std::string_view record, link::RecordFraming framing) {
  if (framing == link::RecordFraming::len) return record.substr(link::kRecordSizeWidth);
  return record.substr(0, record.size() - 1);  // its delimiter, or the line end that a JSON value is given
}

}  // namespace

class EachRunner final {
 public:
  EachRunner(LocalStream from, LocalStream into, JobStageStreams streams, EachStageOptions options)
      : options_(std::move(options)),
        tap_(std::move(from), options_.stage.cut),
        into_(std::move(into)),
        error_(std::move(streams.error)),
        jobs_(std::move(streams.jobs)),
        null_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
        work_(options_.work),
        workers_(options_.work.workers) {
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

  /// The program has ended.
  // Whoever reads their stderr learns the end of it.
  void close_jobs() {
    jobs_.close();
    error_.reset();
  }

  void stop_starting() { stopped_ = true; }
  void add_seat(exec::JobClient seat) { jobs_.add(std::move(seat)); }

  JobStageCounts counts() {
    std::lock_guard lock(counts_mutex_);
    return counts_;
  }

 private:
  // True: something was moved.
  bool step() {
    if (stopped_) work_.stop();
    hear_changes();
    bool moved = read();
    if (!end_) moved = start_jobs() || moved;
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
      if (change->worker == workers_) {
        ++workers_;
        count([](JobStageCounts& counts) { counts.workers.emplace_back(); });
      }
      work_.on_joined(change->worker);
    }
    for (EachWork::Worker worker = 0; worker < workers_; ++worker) {
      bool over = jobs_.has_joined(worker) && work_.retired(worker);
      if (over && !jobs_.is_released(worker)) jobs_.release(worker);
    }
  }

  // --- input ------------------------------------------------------------------------------------------------------

  bool has_room() const {
    return !ending() && work_.wants_batch() && (waiting_bytes_ < kWaitingBytesMax || work_.hungry());
  }

  bool read() {
    if (!has_room() || told_end_) return false;
    switch (tap_.read()) {
      case RecordTap::Status::failed:
        breaks(125, tap_.why());
        return false;
      case RecordTap::Status::nothing:
        return false;
      case RecordTap::Status::ended:
        if (gathering_.records > 0) hand_over();
        work_.on_source_end();
        return told_end_ = true;
      case RecordTap::Status::moved:
        break;
    }
    while (!tap_.records().empty() && has_room()) {
      link::RecordBatch record = tap_.records().take_front(1);
      link::append_framed(record, tap_.framing(), gathering_.bytes);
      if (++gathering_.records == options_.records) hand_over();
    }
    return true;
  }

  void hand_over() {
    BatchNumber number = ++last_number_;
    Batch batch = std::exchange(gathering_, {});
    count([&](JobStageCounts& counts) { counts.input_bytes = tap_.bytes(); });
    if (options_.stage.log != nullptr && options_.stage.log->done(number)) {
      count([&](JobStageCounts& counts) { counts.skipped += batch.records; });
      return;
    }
    std::optional<EachWork::Worker> lane;
    if (options_.stage.by)
      lane = options_.stage.by->worker_for(without_framing(batch.bytes, tap_.framing()), options_.work.workers);
    waiting_bytes_ += batch.bytes.size();
    batches_.emplace(number, std::move(batch));
    work_.on_batch(number, lane);
  }

  // --- jobs -------------------------------------------------------------------------------------------------------

  bool start_jobs() {
    bool moved = false;
    work_.hold_back(files_held_ >= kFilesHeldMax);
    work_.run_ahead(usual_run_ < kShort && !options_.stage.by && !rate_);
    for (TimePoint now = Clock::now(); !end_ && (!rate_ || rate_->allowed(now) > 0); moved = true) {
      auto start = work_.poll_start(now);
      if (!start) break;
      if (rate_) rate_->take(now, 1);
      start_job(*start, now);
    }
    return moved;
  }

  void start_job(const EachWork::Start& start, TimePoint now) {
    const Batch& batch = batches_.at(start.batch);
    Job job{.batch = start.batch, .worker = start.worker % workers_, .started_s = seconds_since_1970(), .started = now};
    if (options_.command.takes_argument()) {
      auto arguments = options_.command.arguments_for(without_framing(batch.bytes, tap_.framing()));
      if (!arguments) return work_.on_ended(start.batch, refused(arguments.error()), now);
      job.arguments = *std::move(arguments);
    }
    if (auto started = connect(job, batch); !started)
      return breaks(125, "no process can be started: " + trouble(started.error()));
    count([](JobStageCounts& counts) { ++counts.jobs; });
    running_.emplace(++last_job_, std::move(job));
  }

  static AttemptEnd refused(std::string why) {
    return {.kind = AttemptEnd::Kind::refused, .status = exec::ProcessStatus::exited(126), .why = std::move(why)};
  }

  std::expected<void, int> connect(Job& job, const Batch& batch) {
    UniqueFd own_input, error;
    if (!options_.command.takes_argument()) {
      auto input = whole_input(batch.bytes);
      if (!input) return std::unexpected(input.error());
      own_input = *std::move(input);
    }
    auto output = make_pipe();
    if (!output) return std::unexpected(output.error());
    job.output = std::move(output->read_end);
    if (options_.stage.letters != nullptr) {
      auto opened = job.error.open();
      if (!opened) return std::unexpected(opened.error());
      error = *std::move(opened);
    }
    return jobs_.start(last_job_ + 1, job.worker, job.arguments,
                       {.input = own_input ? own_input.get() : null_.get(),
                        .output = output->write_end.get(),
                        .error = error ? error.get() : error_.get()});
  }

  void hear_jobs() {
    bool open = jobs_.receive();
    while (auto event = jobs_.poll_event()) std::visit([this](const auto& what) { handle(what); }, *event);
    if (!open && jobs_.all_seats_lost()) return breaks(125, "every host that its processes ran on was lost");
    // The spawner takes no more: the flow was ended, with every job.
    if (!open && !end_) end_ = JobStageEnd{.kind = Kind::ended, .status = exec::ProcessStatus::ended_by(SIGKILL)};
  }

  void handle(const exec::JobStarted&) {}
  void handle(const exec::JobsRefused&) {}  // poll_change says it

  void handle(const exec::JobFailed& failed) {
    auto place = running_.find(failed.job);
    INVARIANT(place != running_.end());
    BatchNumber batch = place->second.batch;
    running_.erase(place);
    if (failed.error == ECANCELED) {  // the flow is being ended
      worst_ = exec::ProcessStatus::ended_by(SIGTERM);
      return;
    }
    // Arguments that are too long are this record's own affair; all else holds for every one.
    if (failed.error == E2BIG) return work_.on_ended(batch, refused(std::strerror(failed.error)), Clock::now());
    int status = failed.action != "execute" ? 125 : failed.error == ENOENT ? 127 : 126;
    breaks(status, fmt::format("cannot {} {}: {}", failed.action, command(), trouble(failed.error)));
  }

  void handle(const exec::JobEnded& ended) {
    auto place = running_.find(ended.job);
    INVARIANT(place != running_.end());
    place->second.status = exec::ProcessStatus::from_wait(ended.wait_status);
    place->second.ended = Clock::now();
    Duration ran = std::chrono::microseconds(ended.run_us);
    place->second.started = place->second.ended - ran;
    place->second.started_s = seconds_since_1970() - std::chrono::duration<double>(ran).count();
    usual_run_ = (7 * usual_run_ + ran) / 8;
    count([&](JobStageCounts& counts) {
      counts.cpu_us += ended.user_us + ended.system_us;
      counts.peak_memory_bytes = std::max(counts.peak_memory_bytes, ended.peak_memory_bytes);
    });
    pump(place->second);
  }

  // Takes what a job has printed so far.
  void pump(Job& job) {
    while (job.output && !end_ && readable_now(job.output.get())) {
      ssize_t got = ::read(job.output.get(), buffer_.get(), kReadSize);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return job.output.reset();
      if (auto held = job.held.append({buffer_.get(), static_cast<std::size_t>(got)}); !held)
        breaks(125, fmt::format("record {}: {}", job.batch, held.error()));
    }
  }

  // Those that have ended, and whose output is whole: or is held open by what they left running.
  void conclude_jobs(TimePoint now) {
    for (auto next = running_.begin(); next != running_.end() && !end_;) {
      auto place = next++;
      Job& job = place->second;
      if (!job.status || (job.output && now < job.ended + kOutputLinger)) continue;
      job.error.pump(error_to());
      if (!job.error.passed_on() && !ending()) continue;
      job.output.reset();
      Job over = std::move(job);
      running_.erase(place);
      conclude(std::move(over), now);
    }
  }

  void conclude(Job job, TimePoint now) {
    const exec::ProcessStatus status = *job.status;
    if (!status.success()) worst_ = status;
    if (!status.success() && ending()) return;  // it was ended with the flow: that is no judgement of its record
    BatchNumber number = job.batch;
    Batch& batch = batches_.at(number);
    if (status.success()) {
      release(batch);
      count([&](JobStageCounts& counts) { counts.workers[job.worker].records_given += batch.records; });
      if (options_.stage.log == nullptr) job.arguments = {};
    }
    bool in_file = job.held.in_file();
    if (status.success() && in_file) ++files_held_;
    last_.insert_or_assign(number, std::move(job));
    AttemptEnd::Kind kind = status.success()     ? AttemptEnd::Kind::succeeded
                            : status.by_signal() ? AttemptEnd::Kind::lost
                                                 : AttemptEnd::Kind::failed;
    work_.on_ended(number, {.kind = kind, .status = status, .why = {}}, now);
    count([&](JobStageCounts& counts) { counts.retried = work_.retried(); });
  }

  // It will not be run again: what is held until its output has gone on is the output alone.
  void release(Batch& batch) {
    waiting_bytes_ -= batch.bytes.size();
    batch.size = batch.bytes.size();
    (void)std::exchange(batch.bytes, {});  // plain assignment would keep the memory
  }

  int error_to() const { return error_ ? error_.get() : STDERR_FILENO; }

  // --- output -----------------------------------------------------------------------------------------------------

  bool pass_on() {
    bool moved = false;
    while (!end_ && !reader_gone_) {
      if (!writing_) writing_ = work_.poll_write();
      if (!writing_) return moved;
      auto outcome = last_.at(*writing_).held.pass_on(into_);
      switch (outcome.passed) {
        case HeldOutput::Passed::all:
          break;
        case HeldOutput::Passed::some:
          return on_blocked(outcome.stream) || moved;
        case HeldOutput::Passed::failed:
          breaks(125, fmt::format("record {}: its output can't be read again: {}", *writing_,
                                  std::strerror(outcome.read_error)));
          return false;
      }
      moved = true;
      finish(*std::exchange(writing_, std::nullopt));
    }
    return moved;
  }

  bool on_blocked(const LocalStream::Outcome& stream) {
    if (stream.status == LocalStream::Status::would_block) return false;
    if (stream.status == LocalStream::Status::failed)
      breaks(125, fmt::format("writing the output failed: {}", std::strerror(stream.error)));
    else
      lose_reader();
    return true;
  }

  // As in a shell, who writes for nobody gets SIGPIPE, and nothing new is begun.
  void lose_reader() {
    reader_gone_ = true;
    work_.stop();
    tap_.close();
    for (auto& [number, job] : running_) job.output.reset();
  }

  void finish(BatchNumber number) {
    const Job& job = last_.at(number);
    count([&](JobStageCounts& counts) {
      counts.output_bytes += job.held.size();
      counts.workers[job.worker].records_written += batches_.at(number).records;
    });
    log(number, *job.status);
    if (end_) return;
    if (job.held.in_file()) --files_held_;
    forget(number);
    work_.on_written(number);
  }

  bool bury() {
    bool moved = false;
    while (auto dead = work_.poll_dead()) {
      moved = true;
      const Batch& batch = batches_.at(dead->batch);
      DeadLetter letter{.flow = options_.stage.flow,
                        .stage = options_.stage.stage,
                        .command = options_.stage.text,
                        .number = dead->batch,
                        .attempts = dead->attempts,
                        .end = dead->end,
                        .stderr_tail = stderr_tail(dead->batch),
                        .record = batch.bytes};
      if (auto buried = options_.stage.letters->bury(letter); !buried) {
        breaks(125, buried.error());
        return true;
      }
      log(dead->batch, dead->end.status);
      waiting_bytes_ -= batch.bytes.size();
      count([&](JobStageCounts& counts) { counts.dead += batch.records; });
      forget(dead->batch);
      work_.on_buried(dead->batch);
    }
    return moved;
  }

  std::string stderr_tail(BatchNumber number) const {
    auto last = last_.find(number);
    return last == last_.end() ? std::string() : last->second.error.tail();
  }

  void forget(BatchNumber number) {
    batches_.erase(number);
    last_.erase(number);
  }

  void log(BatchNumber number, exec::ProcessStatus status) {
    if (options_.stage.log == nullptr) return;
    JobLogLine line{.number = number, .status = status, .command = options_.stage.text};
    if (auto last = last_.find(number); last != last_.end()) {
      const Job& job = last->second;
      line.started_s = job.started_s;
      line.runtime_s = std::chrono::duration<double>(job.ended - job.started).count();
      line.received_bytes = job.held.size();
      if (!job.arguments.empty()) line.command = options_.command.text_of(job.arguments);
      const Batch& batch = batches_.at(number);
      line.sent_bytes = job.arguments.empty() ? std::max(batch.size, batch.bytes.size()) : 0;
    }
    if (auto written = options_.stage.log->append(line); !written) breaks(125, written.error());
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  void judge() {
    if (work_.broken() && !ending()) {
      const EachWork::Broken& broken = *work_.broken();
      log(broken.batch, broken.end.status);
      return breaks(broken.end.status.shell_status(), sentence(broken));
    }
    if (ending() && running_.empty())
      end_ = JobStageEnd{.kind = reader_gone_ ? Kind::reader_gone : Kind::ended,
                         .status = reader_gone_ ? exec::ProcessStatus::ended_by(SIGPIPE) : worst_};
    else if (work_.finished())
      end_ = JobStageEnd{};
  }

  std::string sentence(const EachWork::Broken& broken) const {
    std::string what = options_.records == 1 ? "record" : "batch";
    std::string how;
    if (broken.end.kind == AttemptEnd::Kind::refused)
      return fmt::format("{} {} can't be given to {}: {}", what, broken.batch, command(), broken.end.why);
    if (broken.end.kind == AttemptEnd::Kind::lost)
      how = fmt::format("was ended by signal {}", broken.end.status.signal());
    else
      how = fmt::format("exited with status {}", broken.end.status.exit_code());
    if (broken.attempts > 1) how += fmt::format(", at attempt {}", broken.attempts);
    return fmt::format("{} {} failed: {} {}; --retries tries again, --dead-letter FILE lets the rest go on", what,
                       broken.batch, command(), how);
  }

  // --- waiting ----------------------------------------------------------------------------------------------------

  // False: told to stop.
  bool wait(int stop, int wake) {
    bool reads = has_room() && !told_end_ && tap_.records().empty();
    short into_events = writing_ ? POLLOUT : 0;  // without events: only that nobody reads any more
    polled_.clear();
    polled_.push_back({.fd = stop, .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = wake, .events = POLLIN, .revents = 0});
    polled_.push_back({.fd = jobs_.descriptor(), .events = jobs_.events(), .revents = 0});
    polled_.push_back({.fd = reader_gone_ ? -1 : into_.descriptor(), .events = into_events, .revents = 0});
    polled_.push_back({.fd = reads && !tap_.in_background() ? tap_.descriptor() : -1, .events = POLLIN, .revents = 0});
    std::size_t first_job = polled_.size();
    for (const auto& [number, job] : running_) {
      polled_.push_back({.fd = job.output.get(), .events = POLLIN, .revents = 0});
      polled_.push_back(job.error.waits(error_to()));
    }
    ::poll(polled_.data(), polled_.size(), timeout_ms(reads && tap_.in_background()));
    if (polled_[0].revents != 0) return false;
    if (polled_[1].revents != 0) drain(wake);
    if ((polled_[3].revents & POLLERR) != 0) lose_reader();
    std::size_t at = first_job;
    for (auto& [number, job] : running_) {
      if (polled_[at++].revents != 0) pump(job);
      if (polled_[at++].revents != 0) job.error.pump(error_to());
    }
    if (polled_[2].revents != 0) {
      jobs_.flush();
      hear_jobs();
    }
    conclude_jobs(Clock::now());
    return true;
  }

  static void drain(int wake) {
    std::uint64_t count = 0;
    (void)!::read(wake, &count, sizeof count);
  }

  int timeout_ms(bool in_background) const {
    std::optional<TimePoint> due = work_.poll_deadline();
    auto consider = [&](TimePoint point) { due = due ? std::min(*due, point) : point; };
    if (rate_ && work_.can_start() && rate_->allowed(Clock::now()) == 0) consider(rate_->next());
    if (in_background) consider(Clock::now() + kBackgroundWait);
    for (const auto& [number, job] : running_)
      if (job.status && job.error.passed_on()) consider(job.ended + kOutputLinger);
    if (!due) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - Clock::now()).count();
    return static_cast<int>(std::clamp<decltype(left)>(left, 0, 60'000));
  }

  EachStageOptions options_;
  RecordTap tap_;
  LocalStream into_;
  UniqueFd error_;
  StageJobs jobs_;
  UniqueFd null_;
  EachWork work_;
  std::uint32_t workers_;
  std::optional<link::RateLimit> rate_;
  Batch gathering_;
  BatchNumber last_number_ = 0;
  exec::JobNumber last_job_ = 0;
  std::map<BatchNumber, Batch> batches_;  // held
  std::size_t waiting_bytes_ = 0;         // of those that have not succeeded
  Duration usual_run_ = 1s;               // of a process
  std::size_t files_held_ = 0;            // of outputs that have not gone on
  std::map<exec::JobNumber, Job> running_;
  std::map<BatchNumber, Job> last_;  // the last attempt of those that are held
  std::optional<BatchNumber> writing_;
  std::unique_ptr<char[]> buffer_ = std::make_unique_for_overwrite<char[]>(kReadSize);
  std::vector<pollfd> polled_;
  std::atomic<bool> stopped_ = false;
  bool reader_gone_ = false;
  bool told_end_ = false;
  exec::ProcessStatus worst_ = exec::ProcessStatus::exited(0);
  std::optional<JobStageEnd> end_;
  std::mutex counts_mutex_;
  JobStageCounts counts_;
};

std::expected<std::unique_ptr<JobStage>, int> start_each_stage(JobStageStreams streams, EachStageOptions options,
                                                               std::function<void(JobStageEnd)> on_end) {
  return JobStageThread<EachRunner>::start(std::move(streams), std::move(options), std::move(on_end));
}

}  // namespace sluice::node
