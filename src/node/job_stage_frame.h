#pragma once
// What every stage of jobs has, whatever its processes do with the records: its input, its processes, its rate and keys,
// how it ends, and what is counted of it.
//
// The thread of the stage changes `counts()` as it likes; publish() shows them to others, all of one moment.
// Threading: belongs to the thread of the stage, but for stop_starting(), set_workers(), add_seat() and published(), which are for
// any.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "base/unique_fd.h"
#include "exec/process_status.h"
#include "exec/spawn_protocol.h"
#include "flow/worker_hand.h"
#include "link/local_stream.h"
#include "link/rate_limit.h"
#include "link/record_batch.h"
#include "link/worker_times.h"
#include "node/job_stage.h"
#include "node/record_tap.h"

namespace sluice::node {

/// What a process has left running may hold its output open for so long behind its end.
inline constexpr Duration kOutputLinger = std::chrono::milliseconds(100);

class JobStageFrame final {
 public:
  /// `streams`: without those of the records.
  JobStageFrame(std::vector<link::LocalStream> from, JobStageStreams streams, JobStageOptions options,
                std::uint32_t workers);

  const JobStageOptions& options() const { return options_; }
  /// Of each link into the stage.
  std::vector<RecordTap>& taps() { return taps_; }
  void close_taps();
  StageJobs& jobs() { return jobs_; }
  const StageJobs& jobs() const { return jobs_; }
  /// Read once a step, and after each wait.
  TimePoint now() const { return now_; }
  void look_at_clock() { now_ = Clock::now(); }

  /// Where the processes' stderr goes; -1: where the launch has it.
  int error() const { return error_.get(); }
  /// The same, to write to.
  int error_to() const;
  /// The program has ended. Whoever reads its stderr learns the end of it.
  void close_jobs();

  // --- records ----------------------------------------------------------------------------------------------------

  std::optional<link::RateLimit>& rate() { return rate_; }
  /// With keys: whose record it is. `record`: without what delimits it.
  std::optional<std::uint32_t> lane_of(std::string_view record) const;
  /// Calls `give(batch, lane)` with as many as the rate allows: whole batches with lane 0, or with keys each record with
  /// its lane. Their ids are their places in what the stage has read. False: none is allowed yet.
  template <class Give>
  bool hand_over(flow::LinkNumber link, link::RecordBatch& records, Give&& give);
  /// When the rate allows more of what was read.
  std::optional<TimePoint> rate_due() const;

  // --- its workers -----------------------------------------------------------------------------------------------

  /// So many from now on.
  void set_workers(std::uint32_t workers) { wanted_workers_ = workers; }
  /// How many that are, if that was asked for and nobody has seen to it yet.
  std::optional<std::uint32_t> take_wanted_workers();
  /// For what is counted of so many.
  void make_room(std::uint32_t workers);
  /// One that joins (stage_jobs.h).
  void add_seat(exec::JobClient seat) { jobs_.add(std::move(seat)); }

  // --- its end ----------------------------------------------------------------------------------------------------

  void stop_starting() { stopped_ = true; }
  /// Nothing is started any more.
  bool stopped() const { return stopped_; }
  /// Nobody reads what it writes.
  bool reader_gone() const { return reader_gone_; }
  void lose_reader() { reader_gone_ = true; }
  bool ending() const { return stopped_ || reader_gone_; }

  void breaks(int status, std::string why);
  void end(JobStageEnd end);
  const std::optional<JobStageEnd>& ended() const { return end_; }
  /// Its status, if nothing else decides on it.
  exec::ProcessStatus worst() const { return worst_; }
  void set_worst(exec::ProcessStatus status) { worst_ = status; }
  /// The program can't be started. Nothing: the flow is being ended.
  void on_unstarted(const exec::JobFailed& failed);
  /// Something was not written, at once or for good. True: for good.
  bool on_unwritten(const link::LocalStream::Outcome& outcome);

  /// In a message.
  std::string command() const;
  /// To the user: `what` follows the worker's name.
  void tell(std::uint32_t worker, const std::string& what) const;
  /// The process of a worker has ended, with so many records in hand. Where its seat is lost too, others tell that.
  void tell_if_joined(std::uint32_t worker, exec::ProcessStatus status, std::uint64_t in_hand) const;

  // --- counting ---------------------------------------------------------------------------------------------------

  JobStageCounts& counts() { return counts_; }
  const JobStageCounts& counts() const { return counts_; }
  void count_usage(const exec::JobEnded& ended);
  using StateOf = std::function<link::WorkerState(std::uint32_t worker)>;
  /// Completes what is counted by what it adds up to, and shows it.
  void publish(const StateOf& state_of);
  JobStageCounts published() const;

 private:
  JobStageOptions options_;
  std::uint32_t workers_;                          // that the keys are divided between
  std::atomic<std::uint32_t> wanted_workers_ = 0;  // 0: as many as there are
  std::vector<RecordTap> taps_;
  link::RecordId next_id_ = 1;
  UniqueFd error_;
  StageJobs jobs_;
  std::optional<link::RateLimit> rate_;
  TimePoint now_ = Clock::now();
  std::atomic<bool> stopped_ = false;
  bool reader_gone_ = false;
  exec::ProcessStatus worst_ = exec::ProcessStatus::exited(0);
  std::optional<JobStageEnd> end_;
  JobStageCounts counts_;

  mutable std::mutex published_mutex_;
  JobStageCounts published_;
  link::SharedWorkerTimes times_;
};

template <class Give>
bool JobStageFrame::hand_over(flow::LinkNumber link, link::RecordBatch& records, Give&& give) {
  std::uint32_t allowed = rate_ ? std::min(rate_->allowed(now_), records.count()) : records.count();
  if (allowed == 0) return false;
  if (rate_) rate_->take(now_, allowed);
  counts_.records_read += allowed;
  counts_.links[link].records_read += allowed;
  link::RecordBatch batch = records.take_front(allowed);
  batch.renumber(next_id_);
  next_id_ += allowed;
  if (!options_.by) {
    give(std::move(batch), std::uint32_t{0});
    return true;
  }
  while (!batch.empty()) {
    link::RecordBatch record = batch.take_front(1);
    std::string_view bytes = record.bytes();
    if (record.shape().layout == link::RecordLayout::delimited) bytes.remove_suffix(1);
    give(std::move(record), *lane_of(bytes));
  }
  return true;
}

}  // namespace sluice::node
