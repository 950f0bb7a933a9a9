#include "node/job_stage_frame.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "flow/quoting.h"
#include "node/job_trouble.h"

namespace sluice::node {
namespace {

using link::LocalStream;

constexpr std::size_t kCommandColumns = 60;  // in a message

}  // namespace

JobStageFrame::JobStageFrame(std::vector<LocalStream> from, JobStageStreams streams, JobStageOptions options,
                             std::uint32_t workers)
    : options_(std::move(options)),
      workers_(workers),
      error_(std::move(streams.error)),
      jobs_(std::move(streams.jobs)),
      times_(workers) {
  for (LocalStream& stream : from) taps_.emplace_back(std::move(stream), options_.cut);
  counts_.workers.resize(workers);
  counts_.links.resize(taps_.size());
  published_ = counts_;
  if (options_.rate) rate_.emplace(*options_.rate);
}

int JobStageFrame::error_to() const { return error_ ? error_.get() : STDERR_FILENO; }

void JobStageFrame::close_jobs() {
  jobs_.close();
  error_.reset();
}

std::optional<std::uint32_t> JobStageFrame::lane_of(std::string_view record) const {
  if (!options_.by) return std::nullopt;
  return options_.by->worker_for(record, workers_);
}

std::optional<TimePoint> JobStageFrame::rate_due() const {
  if (!rate_ || std::ranges::none_of(taps_, &RecordTap::has_records)) return std::nullopt;
  return rate_->next();
}

void JobStageFrame::close_taps() {
  for (RecordTap& tap : taps_) tap.close();
}

// --- its end ------------------------------------------------------------------------------------------------------

void JobStageFrame::breaks(int status, std::string why) {
  end({.kind = JobStageEnd::Kind::broken, .status = exec::ProcessStatus::exited(status), .why = std::move(why)});
}

void JobStageFrame::end(JobStageEnd end) {
  if (!end_) end_ = std::move(end);
}

void JobStageFrame::on_unstarted(const exec::JobFailed& failed) {
  if (failed.error == ECANCELED) return;
  int status = failed.action != "execute" ? 125 : failed.error == ENOENT ? 127 : 126;
  breaks(status, fmt::format("cannot {} {}: {}", failed.action, command(), trouble(failed.error)));
}

bool JobStageFrame::on_unwritten(const LocalStream::Outcome& outcome) {
  if (outcome.status == LocalStream::Status::would_block) return false;
  if (outcome.status == LocalStream::Status::failed)
    breaks(125, fmt::format("writing the output failed: {}", std::strerror(outcome.error)));
  else
    lose_reader();
  return true;
}

std::string JobStageFrame::command() const { return "`" + flow::on_one_line(options_.text, kCommandColumns) + "`"; }

void JobStageFrame::tell(std::uint32_t worker, const std::string& what) const {
  std::string said = fmt::format("sluice: worker {} {} {}\n", worker + 1, command(), what);
  (void)!::write(error_to(), said.data(), said.size());
}

void JobStageFrame::tell_if_joined(std::uint32_t worker, exec::ProcessStatus status, std::uint64_t in_hand) const {
  if (!jobs_.has_joined(worker) || jobs_.is_gone(worker) || status.success() || in_hand == 0) return;
  std::string how = status.by_signal() ? fmt::format("was ended by signal {}", status.signal())
                                       : fmt::format("exited with status {}", status.exit_code());
  tell(worker, fmt::format("{} with {} record{} in hand, which run{} again", how, in_hand, in_hand == 1 ? "" : "s",
                           in_hand == 1 ? "s" : ""));
}

std::optional<std::uint32_t> JobStageFrame::take_wanted_workers() {
  std::uint32_t workers = wanted_workers_.exchange(0);
  if (workers == 0) return std::nullopt;
  make_room(workers);
  return workers;
}

void JobStageFrame::make_room(std::uint32_t workers) {
  if (workers <= counts_.workers.size()) return;
  std::lock_guard lock(published_mutex_);
  counts_.workers.resize(workers);
  published_.workers.resize(workers);
  times_.grow(workers);
}

// --- counting -----------------------------------------------------------------------------------------------------

void JobStageFrame::count_usage(const exec::JobEnded& ended) {
  counts_.cpu_us += ended.user_us + ended.system_us;
  counts_.peak_memory_bytes = std::max(counts_.peak_memory_bytes, ended.peak_memory_bytes);
}

void JobStageFrame::publish(const StateOf& state_of) {
  counts_.input_bytes = 0;
  for (std::size_t link = 0; link < taps_.size(); ++link)
    counts_.input_bytes += counts_.links[link].bytes = taps_[link].bytes();
  counts_.records_out = 0;
  counts_.waiting = counts_.records_read - counts_.records_settled - counts_.dead;
  for (const JobStageCounts::Worker& worker : counts_.workers) {
    counts_.records_out += worker.records_written;
    counts_.waiting -= worker.in_flight;
  }
  std::lock_guard lock(published_mutex_);
  published_ = counts_;
  times_.enter([&](std::size_t worker) {
    auto number = static_cast<std::uint32_t>(worker);
    bool gone = jobs_.has_joined(number) && jobs_.is_released(number);
    return published_.workers[worker].state = gone ? link::WorkerState::gone : state_of(number);
  });
}

JobStageCounts JobStageFrame::published() const {
  std::lock_guard lock(published_mutex_);
  JobStageCounts counts = published_;
  std::vector<link::WorkerDurations> times = times_.read();
  for (std::size_t worker = 0; worker < times.size(); ++worker) counts.workers[worker].times = times[worker];
  return counts;
}

}  // namespace sluice::node
