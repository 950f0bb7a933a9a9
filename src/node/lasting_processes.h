#pragma once
// The processes of a stage that keeps them running, those of `@map` and of `worker`: one for each worker at most. What
// goes between the stage and a process, and what that means, is the stage's own.
//
//   none -> runs -> has ended -> over: none
//
// One that has ended stays until everything was heard that it has left to say: its stderr here, all else by the stage.
// What it has left running may hold that other stream open for a moment (kOutputLinger), and no longer.
// A worker's stderr is known until its next process is started: the dead letters of this one want its tail.
// Threading: belongs to the thread of the stage.
#include <poll.h>

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "base/unique_fd.h"
#include "exec/jobs.h"
#include "exec/process_status.h"
#include "exec/spawn_protocol.h"
#include "node/job_stage_frame.h"
#include "node/job_stderr.h"

namespace sluice::node {

class LastingProcesses final {
 public:
  using Worker = std::uint32_t;

  /// `frame` outlives it.
  LastingProcesses(JobStageFrame& frame, std::uint32_t workers) : frame_(frame), processes_(workers) {}
  /// For those of so many workers; there may be room for more.
  void make_room(std::uint32_t workers);

  // --- the start --------------------------------------------------------------------------------------------------

  /// With dead letters: what is to be the stderr of the next process of `worker`, to be closed here when that was asked
  /// for. Else empty: nobody here reads it. Errors: errno.
  std::expected<UniqueFd, int> capture_stderr(Worker worker);
  /// Asks for a process of `worker`, which has none. Errors: errno; none can be started, now or ever.
  std::expected<void, int> start(Worker worker, const exec::Jobs::Streams& streams);

  // --- while it runs ----------------------------------------------------------------------------------------------

  /// Lets go of the end of its input that keeps it open (exec::Jobs::Streams::input_guard). Requires: exists(worker).
  void release_input(Worker worker) { frame_.jobs().release_input(processes_[worker].job); }
  /// Requires: exists(worker).
  void signal(Worker worker, int number) { frame_.jobs().signal(processes_[worker].job, number); }
  /// What is there of its stderr goes on.
  void pump_stderr(Worker worker) { processes_[worker].error.pump(frame_.error_to()); }
  const std::string& stderr_tail(Worker worker) const { return processes_[worker].error.tail(); }

  // --- the end ----------------------------------------------------------------------------------------------------

  /// It was not started: for the flow is being ended, which is as if it had been ended with it, or never can be, which
  /// breaks the stage.
  void on_failed(const exec::JobFailed& failed);
  void on_ended(const exec::JobEnded& ended);
  /// Whether one that has ended is over. `heard`: the stage has nothing left to read of it.
  bool is_over(Worker worker, bool heard);
  /// There is none any more. How it ended. Requires: has_ended(worker).
  exec::ProcessStatus remove(Worker worker);

  // --- waiting ----------------------------------------------------------------------------------------------------

  /// As JobStageWork has them: for what they write to their stderr.
  void add_waits(std::vector<pollfd>& polled) const;
  void on_ready(std::span<const pollfd> polled);
  /// When to look whether those that have ended are over.
  std::optional<TimePoint> deadline() const;

  // --- how it stands ----------------------------------------------------------------------------------------------

  /// One was asked for, and is not over.
  bool exists(Worker worker) const { return processes_[worker].job != 0; }
  bool has_ended(Worker worker) const { return processes_[worker].status.has_value(); }
  bool runs(Worker worker) const { return exists(worker) && !has_ended(worker); }
  bool none_exists() const;

 private:
  struct Process {
    exec::JobNumber job = 0;  // 0: none
    JobStderr error;
    std::optional<exec::ProcessStatus> status;  // it has ended
    TimePoint ended{};
  };

  void end(exec::JobNumber job, exec::ProcessStatus status);

  JobStageFrame& frame_;
  std::vector<Process> processes_;  // of each worker
  exec::JobNumber last_job_ = 0;
};

}  // namespace sluice::node
