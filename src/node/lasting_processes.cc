#include "node/lasting_processes.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/require.h"

namespace sluice::node {

void LastingProcesses::make_room(std::uint32_t workers) {
  if (workers > processes_.size()) processes_.resize(workers);
}

// --- the start ----------------------------------------------------------------------------------------------------

std::expected<UniqueFd, int> LastingProcesses::capture_stderr(Worker worker) {
  JobStderr& error = processes_[worker].error = JobStderr();
  if (frame_.options().letters == nullptr) return UniqueFd();
  return error.open();
}

std::expected<void, int> LastingProcesses::start(Worker worker, const exec::Jobs::Streams& streams) {
  REQUIRE(!exists(worker));
  Process& process = processes_[worker];
  process.job = ++last_job_;
  auto started = frame_.jobs().start(process.job, worker, {}, streams);
  if (started) ++frame_.counts().jobs;
  return started;
}

// --- the end ------------------------------------------------------------------------------------------------------

void LastingProcesses::on_failed(const exec::JobFailed& failed) {
  if (failed.error != ECANCELED) return frame_.on_unstarted(failed);
  end(failed.job, exec::ProcessStatus::ended_by(SIGTERM));
}

void LastingProcesses::on_ended(const exec::JobEnded& ended) {
  end(ended.job, exec::ProcessStatus::from_wait(ended.wait_status));
}

void LastingProcesses::end(exec::JobNumber job, exec::ProcessStatus status) {
  auto process = std::ranges::find(processes_, job, &Process::job);
  INVARIANT(process != processes_.end());
  process->status = status;
  process->ended = frame_.now();
}

bool LastingProcesses::is_over(Worker worker, bool heard) {
  Process& process = processes_[worker];
  if (!heard && frame_.now() < process.ended + kOutputLinger) return false;
  pump_stderr(worker);
  return process.error.passed_on() || frame_.ending();
}

exec::ProcessStatus LastingProcesses::remove(Worker worker) {
  REQUIRE(has_ended(worker));
  Process& process = processes_[worker];
  process.job = 0;
  return *std::exchange(process.status, std::nullopt);
}

// --- waiting ------------------------------------------------------------------------------------------------------

void LastingProcesses::add_waits(std::vector<pollfd>& polled) const {
  for (const Process& process : processes_) polled.push_back(process.error.waits(frame_.error_to()));
}

void LastingProcesses::on_ready(std::span<const pollfd> polled) {
  for (Worker worker = 0; worker < processes_.size(); ++worker)
    if (polled[worker].revents != 0) pump_stderr(worker);
}

// While the sink of its stderr takes nothing, time alone does not make it over.
std::optional<TimePoint> LastingProcesses::deadline() const {
  std::optional<TimePoint> due;
  for (const Process& process : processes_)
    if (process.status && process.error.passed_on())
      due = std::min(due.value_or(TimePoint::max()), process.ended + kOutputLinger);
  return due;
}

// --- how it stands ------------------------------------------------------------------------------------------------

bool LastingProcesses::none_exists() const {
  return std::ranges::all_of(processes_, [](const Process& process) { return process.job == 0; });
}

}  // namespace sluice::node
