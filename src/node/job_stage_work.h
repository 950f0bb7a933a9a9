#pragma once
// What is a stage of jobs' own: which process is given what, and what is written on. JobStageRunner asks it, step by step.
// Threading: belongs to the thread of the stage.
#include <poll.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "exec/process_status.h"
#include "exec/spawn_protocol.h"
#include "flow/each_work.h"
#include "flow/worker_hand.h"
#include "link/record_batch.h"
#include "link/worker_times.h"

namespace sluice::node {

class JobStageWork {
 public:
  virtual ~JobStageWork() = default;

  // --- input ------------------------------------------------------------------------------------------------------

  using LinkNumber = flow::LinkNumber;
  /// There is room for records of that link.
  virtual bool wants_input(LinkNumber link) const = 0;
  /// Takes what it may now off the front. True: something was moved. Requires: not empty.
  virtual bool take(LinkNumber link, link::RecordBatch& records) = 0;
  virtual void on_source_end(LinkNumber link) = 0;

  /// So many workers from now on. The frame has room for what is counted of each.
  virtual void set_workers(std::uint32_t workers) = 0;

  // --- workers that come and go (stage_jobs.h) -------------------------------------------------------------------

  /// It is to be given records. The frame has room for what is counted of it.
  virtual void on_joined(std::uint32_t worker) = 0;
  /// It takes no more.
  virtual void on_leaving(std::uint32_t worker) = 0;
  /// Of one that has joined: nothing of it runs, and nothing will.
  virtual bool retired(std::uint32_t worker) const = 0;

  // --- one step. True: something was moved ------------------------------------------------------------------------

  /// Hears the processes, and gives them what they may have.
  virtual bool drive() = 0;
  /// Writes on what they have written, until that would wait.
  virtual bool pass_on() = 0;

  // --- records that failed for good -------------------------------------------------------------------------------

  struct Dead {
    std::uint64_t number = 0;  // of the record, or of its batch
    LinkNumber link = 0;
    std::uint32_t records = 1;
    std::uint32_t attempts = 0;
    flow::AttemptEnd end;
    std::string stderr_tail;
    std::string record;  // as it stood in the stream
  };
  virtual std::optional<Dead> poll_dead() = 0;
  virtual void on_buried(const Dead& dead) = 0;

  // --- output -----------------------------------------------------------------------------------------------------

  virtual int output_descriptor() const = 0;
  /// Something waits for room there.
  virtual bool output_waits() const = 0;
  /// Nobody reads it any more, and nothing more is wanted of the processes.
  virtual void on_reader_gone() = 0;
  virtual void close_output() = 0;

  // --- processes --------------------------------------------------------------------------------------------------

  virtual void on_failed(const exec::JobFailed& failed) = 0;
  virtual void on_ended(const exec::JobEnded& ended) = 0;
  /// The flow ends: nothing starts any more.
  virtual void stop() = 0;

  // --- waiting ----------------------------------------------------------------------------------------------------

  virtual void add_waits(std::vector<pollfd>& polled) = 0;
  /// What add_waits has added, with what is ready. It comes before the news of the processes.
  virtual void on_ready(std::span<const pollfd> polled) = 0;
  /// Everything was heard: what has ended is over, what is overdue is seen to.
  virtual void after_wait() = 0;
  /// When to look again although nothing has happened.
  virtual std::optional<TimePoint> deadline() = 0;
  /// When to look for a worker that is quiet: unlike at the deadline, nothing goes on by that.
  virtual std::optional<TimePoint> quiet_deadline() const { return std::nullopt; }

  // --- how it stands ----------------------------------------------------------------------------------------------

  /// What the flow is to exit with, and why: it can't go on.
  virtual std::optional<std::pair<int, std::string>> poll_broken() = 0;
  /// Everything is done and written.
  virtual bool finished() const = 0;
  /// No process is left.
  virtual bool none_runs() const = 0;
  /// Of the stage, if no more happens.
  virtual exec::ProcessStatus status() const = 0;
  /// Brings the frame's counts up to date.
  virtual void count() = 0;
  virtual link::WorkerState state_of(std::uint32_t worker) const = 0;
};

}  // namespace sluice::node
