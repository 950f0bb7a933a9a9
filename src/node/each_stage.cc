#include "node/each_stage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "base/pipe.h"
#include "base/require.h"
#include "link/local_stream.h"
#include "node/held_output.h"
#include "node/job_input.h"
#include "node/job_log.h"
#include "node/job_stage_thread.h"
#include "node/job_stderr.h"
#include "node/job_trouble.h"

namespace sluice::node {
namespace {

using flow::AttemptEnd;
using flow::BatchNumber;
using flow::EachWork;
using link::LocalStream;
using namespace std::chrono_literals;

// What the records that wait for a process may take of our memory.
constexpr std::size_t kWaitingBytesMax = std::size_t{1} << 20;
// Processes that run so long keep a worker waiting for the next to be asked for: it is asked for ahead.
constexpr Duration kShort = 20ms;
// Each output that is kept in a file is a descriptor, of which a process has 1,024.
constexpr std::size_t kFilesHeldMax = 128;
constexpr std::size_t kReadSize = std::size_t{64} << 10;
// Each is a descriptor more.
constexpr std::size_t kGuardedMax = 64;

struct Batch {
  std::string bytes;     // as the records stood in the stream; until they have been run
  std::size_t size = 0;  // of them, then
  std::uint32_t records = 0;
};

struct Job {
  BatchNumber batch = 0;
  EachWork::Worker worker = 0;
  UniqueFd output;        // empty: nothing more comes
  UniqueFd output_guard;  // while it runs, and is short: it ends in one event then, and not in two
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

class EachStageWork final : public JobStageWork {
 public:
  EachStageWork(JobStageFrame& frame, LocalStream into, EachStageOptions options)
      : frame_(frame),
        options_(std::move(options)),
        into_(std::move(into)),
        null_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
        work_(options_.work) {}

  // --- input ------------------------------------------------------------------------------------------------------

  bool wants_input(LinkNumber) const override { return has_room(); }

  bool take(LinkNumber link, link::RecordBatch& records) override {
    while (!records.empty() && has_room()) {
      link::append_framed(records.take_front(1), framing(), gathering_.bytes);
      ++frame_.counts().records_read;
      ++frame_.counts().links[link].records_read;
      if (++gathering_.records == options_.records) hand_over();
    }
    return true;
  }

  void set_workers(std::uint32_t workers) override { work_.set_workers(workers); }
  void on_joined(std::uint32_t worker) override { work_.on_joined(worker); }
  void on_leaving(std::uint32_t worker) override { work_.on_leaving(worker); }
  bool retired(std::uint32_t worker) const override { return work_.retired(worker); }
  void on_source_end(LinkNumber) override {
    if (gathering_.records > 0) hand_over();
    work_.on_source_end();
  }

  // --- output -----------------------------------------------------------------------------------------------------

  bool pass_on() override {
    bool moved = false;
    while (!frame_.ended() && !frame_.reader_gone()) {
      if (!writing_) writing_ = work_.poll_write();
      if (!writing_) return moved;
      auto outcome = last_.at(*writing_).held.pass_on(into_);
      switch (outcome.passed) {
        case HeldOutput::Passed::all:
          break;
        case HeldOutput::Passed::some:
          return frame_.on_unwritten(outcome.stream) || moved;
        case HeldOutput::Passed::failed:
          frame_.breaks(125, fmt::format("record {}: its output can't be read again: {}", *writing_,
                                         std::strerror(outcome.read_error)));
          return false;
      }
      moved = true;
      finish(*std::exchange(writing_, std::nullopt));
    }
    return moved;
  }

  int output_descriptor() const override { return into_.descriptor(); }
  bool output_waits() const override { return writing_.has_value(); }
  void on_reader_gone() override {
    for (auto& [number, job] : running_) job.output.reset();
  }
  void close_output() override { into_ = LocalStream(); }

  std::optional<Dead> poll_dead() override {
    auto dead = work_.poll_dead();
    if (!dead) return std::nullopt;
    const Batch& batch = batches_.at(dead->batch);
    return Dead{.number = dead->batch,
                .records = batch.records,
                .attempts = dead->attempts,
                .end = dead->end,
                .stderr_tail = stderr_tail(dead->batch),
                .record = batch.bytes};
  }

  void on_buried(const Dead& dead) override {
    log(dead.number, dead.end.status);
    waiting_bytes_ -= batches_.at(dead.number).bytes.size();
    forget(dead.number);
    work_.on_buried(dead.number);
  }

  // --- processes --------------------------------------------------------------------------------------------------

  bool drive() override {
    bool moved = false;
    work_.hold_back(files_held_ >= kFilesHeldMax);
    auto& rate = frame_.rate();
    const TimePoint now = frame_.now();
    work_.run_ahead(usual_run_ < kShort && !frame_.options().by && !rate);
    for (; !frame_.ended() && (!rate || rate->allowed(now) > 0); moved = true) {
      auto start = work_.poll_start(now);
      if (!start) break;
      if (rate) rate->take(now, 1);
      start_job(*start, now);
    }
    return moved;
  }

  void on_failed(const exec::JobFailed& failed) override {
    auto place = running_.find(failed.job);
    INVARIANT(place != running_.end());
    BatchNumber batch = place->second.batch;
    take_back(place->second);
    running_.erase(place);
    if (failed.error == ECANCELED) return frame_.set_worst(exec::ProcessStatus::ended_by(SIGTERM));
    // Arguments that are too long are this record's own affair; all else holds for every one.
    if (failed.error == E2BIG) return work_.on_ended(batch, refused(std::strerror(failed.error)), frame_.now());
    frame_.on_unstarted(failed);
  }

  void on_ended(const exec::JobEnded& ended) override {
    auto place = running_.find(ended.job);
    INVARIANT(place != running_.end());
    place->second.status = exec::ProcessStatus::from_wait(ended.wait_status);
    place->second.ended = frame_.now();
    place->second.output_guard.reset();
    Duration ran = std::chrono::microseconds(ended.run_us);
    place->second.started = place->second.ended - ran;
    place->second.started_s = seconds_since_1970() - std::chrono::duration<double>(ran).count();
    usual_run_ = (7 * usual_run_ + ran) / 8;
    pump(place->second);
  }

  void stop() override { work_.stop(); }

  // --- waiting ----------------------------------------------------------------------------------------------------

  void add_waits(std::vector<pollfd>& polled) override {
    for (const auto& [number, job] : running_) {
      polled.push_back({.fd = job.output.get(), .events = POLLIN, .revents = 0});
      polled.push_back(job.error.waits(frame_.error_to()));
    }
  }

  void on_ready(std::span<const pollfd> polled) override {
    auto entry = polled.begin();
    for (auto& [number, job] : running_) {
      if ((entry++)->revents != 0) pump(job);
      if ((entry++)->revents != 0) job.error.pump(frame_.error_to());
    }
  }

  void after_wait() override { conclude_jobs(frame_.now()); }

  std::optional<TimePoint> deadline() override {
    std::optional<TimePoint> due = work_.poll_deadline();
    auto consider = [&](TimePoint point) { due = due ? std::min(*due, point) : point; };
    const auto& rate = frame_.rate();
    if (rate && work_.can_start() && rate->allowed(Clock::now()) == 0) consider(rate->next());
    for (const auto& [number, job] : running_)
      if (job.status && job.error.passed_on()) consider(job.ended + kOutputLinger);
    return due;
  }

  // --- how it stands ----------------------------------------------------------------------------------------------

  std::optional<std::pair<int, std::string>> poll_broken() override {
    if (!work_.broken()) return std::nullopt;
    const EachWork::Broken& broken = *work_.broken();
    log(broken.batch, broken.end.status);
    return std::pair(broken.end.status.shell_status(), sentence(broken));
  }
  bool finished() const override { return work_.finished(); }
  bool none_runs() const override { return running_.empty(); }
  // An attempt that failed, where everything is done in the end, is no failure of the stage.
  exec::ProcessStatus status() const override {
    return frame_.ending() ? frame_.worst() : exec::ProcessStatus::exited(0);
  }

  void count() override {
    frame_.counts().retried = work_.retried();
    frame_.counts().credit = std::uint64_t{work_.free_workers()} * options_.records;
  }

  // Its process is never held up: what it has printed is taken. Only the next one waits for the reader.
  link::WorkerState state_of(std::uint32_t worker) const override {
    if (frame_.counts().workers[worker].in_flight > 0) return link::WorkerState::busy;
    bool reader_first = writing_ && (work_.full() || files_held_ >= kFilesHeldMax);
    return reader_first ? link::WorkerState::held_back : link::WorkerState::idle;
  }

 private:
  bool has_room() const { return work_.wants_batch() && (waiting_bytes_ < kWaitingBytesMax || work_.hungry()); }

  link::RecordFraming framing() const { return frame_.options().cut.framing; }

  void hand_over() {
    BatchNumber number = ++last_number_;
    Batch batch = std::exchange(gathering_, {});
    JobLog* log = frame_.options().log;
    if (auto sent = log == nullptr ? std::nullopt : log->sent_to_done(number)) {
      if (*sent != 0 && *sent != batch.bytes.size()) return breaks_as_other_input(number, batch.bytes.size(), *sent);
      frame_.counts().skipped += batch.records;
      frame_.counts().records_settled += batch.records;
      return;
    }
    auto lane = frame_.lane_of(without_framing(batch.bytes, framing()));
    waiting_bytes_ += batch.bytes.size();
    batches_.emplace(number, std::move(batch));
    work_.on_batch(number, lane);
  }

  void breaks_as_other_input(BatchNumber number, std::size_t size, std::uint64_t sent) {
    frame_.breaks(125,
                  fmt::format("--resume: {} {} has {} bytes, and the job log says that {} were sent; resume with the "
                              "same input and the same number of records a process, or begin anew without --resume",
                              options_.records == 1 ? "record" : "batch", number, size, sent));
  }

  // --- jobs -------------------------------------------------------------------------------------------------------

  void start_job(const EachWork::Start& start, TimePoint now) {
    const Batch& batch = batches_.at(start.batch);
    Job job{.batch = start.batch, .worker = start.worker, .started_s = seconds_since_1970(), .started = now};
    if (options_.command.takes_argument()) {
      auto arguments = options_.command.arguments_for(without_framing(batch.bytes, framing()));
      if (!arguments) return work_.on_ended(start.batch, refused(arguments.error()), now);
      job.arguments = *std::move(arguments);
    }
    if (auto started = connect(job, batch); !started)
      return frame_.breaks(125, "no process can be started: " + trouble(started.error()));
    ++frame_.counts().jobs;
    frame_.counts().workers[job.worker].in_flight += batch.records;
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
    if (frame_.options().letters != nullptr) {
      auto opened = job.error.open();
      if (!opened) return std::unexpected(opened.error());
      error = *std::move(opened);
    }
    auto started = frame_.jobs().start(last_job_ + 1, job.worker, job.arguments,
                                       {.input = own_input ? own_input.get() : null_.get(),
                                        .output = output->write_end.get(),
                                        .error = error ? error.get() : frame_.error()});
    if (usual_run_ < kShort && running_.size() < kGuardedMax) job.output_guard = std::move(output->write_end);
    return started;
  }

  // Takes what a job has printed so far.
  void pump(Job& job) {
    while (job.output && !frame_.ended() && readable_now(job.output.get())) {
      ssize_t got = ::read(job.output.get(), buffer_.get(), kReadSize);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return job.output.reset();
      if (auto held = job.held.append({buffer_.get(), static_cast<std::size_t>(got)}); !held)
        frame_.breaks(125, fmt::format("record {}: {}", job.batch, held.error()));
    }
  }

  // Those that have ended, and whose output is whole: or is held open by what they left running.
  void conclude_jobs(TimePoint now) {
    for (auto next = running_.begin(); next != running_.end() && !frame_.ended();) {
      auto place = next++;
      Job& job = place->second;
      if (!job.status || (job.output && now < job.ended + kOutputLinger)) continue;
      job.error.pump(frame_.error_to());
      if (!job.error.passed_on() && !frame_.ending()) continue;
      job.output.reset();
      Job over = std::move(job);
      running_.erase(place);
      conclude(std::move(over), now);
    }
  }

  void conclude(Job job, TimePoint now) {
    const exec::ProcessStatus status = *job.status;
    take_back(job);
    if (!status.success()) frame_.set_worst(status);
    if (!status.success() && frame_.ending()) return;  // it was ended with the flow: that is no judgement of its record
    BatchNumber number = job.batch;
    Batch& batch = batches_.at(number);
    if (status.success()) {
      release(batch);
      frame_.counts().workers[job.worker].records_given += batch.records;
      if (frame_.options().log == nullptr) job.arguments = {};
    }
    bool in_file = job.held.in_file();
    if (status.success() && in_file) ++files_held_;
    last_.insert_or_assign(number, std::move(job));
    work_.on_ended(number, AttemptEnd::of(status), now);
  }

  // It is in no hand any more.
  void take_back(const Job& job) { frame_.counts().workers[job.worker].in_flight -= batches_.at(job.batch).records; }

  // It will not be run again: what is held until its output has gone on is the output alone.
  void release(Batch& batch) {
    waiting_bytes_ -= batch.bytes.size();
    batch.size = batch.bytes.size();
    (void)std::exchange(batch.bytes, {});  // plain assignment would keep the memory
  }

  // --- what is done -----------------------------------------------------------------------------------------------

  void finish(BatchNumber number) {
    const Job& job = last_.at(number);
    JobStageCounts& counts = frame_.counts();
    counts.output_bytes += job.held.size();
    counts.workers[job.worker].records_written += batches_.at(number).records;
    counts.records_settled += batches_.at(number).records;
    log(number, *job.status);
    if (frame_.ended()) return;
    if (job.held.in_file()) --files_held_;
    forget(number);
    work_.on_written(number);
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
    if (frame_.options().log == nullptr) return;
    JobLogLine line{.number = number, .status = status, .command = frame_.options().text};
    if (auto last = last_.find(number); last != last_.end()) {
      const Job& job = last->second;
      if (const auto& hosts = frame_.options().hosts; job.worker < hosts.size()) line.host = hosts[job.worker];
      line.started_s = job.started_s;
      line.runtime_s = std::chrono::duration<double>(job.ended - job.started).count();
      line.received_bytes = job.held.size();
      if (!job.arguments.empty()) line.command = options_.command.text_of(job.arguments);
      const Batch& batch = batches_.at(number);
      line.sent_bytes = job.arguments.empty() ? std::max(batch.size, batch.bytes.size()) : 0;
    }
    if (auto written = frame_.options().log->append(line); !written) frame_.breaks(125, written.error());
  }

  std::string sentence(const EachWork::Broken& broken) const {
    std::string what = options_.records == 1 ? "record" : "batch";
    std::string how;
    if (broken.end.kind == AttemptEnd::Kind::refused)
      return fmt::format("{} {} can't be given to {}: {}", what, broken.batch, frame_.command(), broken.end.why);
    if (broken.end.kind == AttemptEnd::Kind::lost)
      how = fmt::format("was ended by signal {}", broken.end.status.signal());
    else
      how = fmt::format("exited with status {}", broken.end.status.exit_code());
    if (broken.attempts > 1) how += fmt::format(", at attempt {}", broken.attempts);
    return fmt::format("{} {} failed: {} {}; --retries tries again, --dead-letter FILE lets the rest go on", what,
                       broken.batch, frame_.command(), how);
  }

  JobStageFrame& frame_;
  EachStageOptions options_;
  LocalStream into_;
  UniqueFd null_;
  EachWork work_;
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
};

}  // namespace

std::expected<std::unique_ptr<JobStage>, int> start_each_stage(JobStageStreams streams, EachStageOptions options,
                                                               std::function<void(JobStageEnd)> on_end) {
  auto make_work = [&](JobStageFrame& frame, LocalStream into) -> std::unique_ptr<JobStageWork> {
    return std::make_unique<EachStageWork>(frame, std::move(into), options);
  };
  return start_job_stage(std::move(streams), options.stage, options.work.workers, make_work, std::move(on_end));
}

}  // namespace sluice::node
