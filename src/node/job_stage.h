#pragma once
// What stages whose program is started by job have in common for those who start and watch them: records that come in
// over links and go out to one stream, and what is counted of them.
// Threading: values, and an interface whose every call is for the thread that made the object.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "exec/process_status.h"
#include "flow/record_key.h"
#include "link/record_framing.h"
#include "link/worker_times.h"
#include "node/stage_jobs.h"

namespace sluice::node {

class DeadLetters;
class JobLog;

struct JobStageStreams {
  struct Stream {
    UniqueFd descriptor;
    bool is_ours = true;  // a pipe of ours alone; else shared with others, as stdin is
  };
  std::vector<Stream> from;  // of each link into the stage; several into one of workers only
  Stream into;
  UniqueFd error;  // where the jobs' stderr goes; empty: where the launch has it
  StageJobs jobs;
};

struct JobStageOptions {
  std::string flow;       // its name
  std::size_t stage = 0;  // from 1
  std::string text;       // the command, as the user wrote it
  link::RecordCutter::Options cut;
  std::optional<flow::RecordKey> by;
  std::optional<double> rate;      // records a second
  DeadLetters* letters = nullptr;  // null: none; outlives the stage, as does `log`
  JobLog* log = nullptr;
  std::vector<std::string> hosts{};  // of each worker, by its node's name, if they are on others
};

struct JobStageEnd {
  enum class Kind {
    ended,        // everything was done, or the flow ended and so did the last job
    reader_gone,  // nobody reads what it writes
    broken,       // a record failed for good, or records can't be moved
  };
  Kind kind = Kind::ended;
  exec::ProcessStatus status = exec::ProcessStatus::exited(0);  // the stage's
  std::string why;                                              // it is broken
};

// All of one moment: records_read is records_settled + dead + those in flight + waiting.
struct JobStageCounts {
  struct Worker {
    std::uint64_t records_given = 0;
    std::uint64_t records_written = 0;
    std::uint64_t in_flight = 0;  // records that it was given, and that are not settled
    link::WorkerState state = link::WorkerState::idle;
    link::WorkerDurations times;  // since the stage has begun
    bool lost = false;            // with what it had been given
  };
  // A link into the stage. They add up to what is counted of the whole stage.
  struct Link {
    std::uint64_t bytes = 0;
    std::uint64_t records_read = 0;
    std::uint64_t dead = 0;
    bool ended = false;
    // Of a stage of workers:
    std::uint64_t waiting = 0;
    std::uint64_t in_flight = 0;
    bool full = false;  // records of it wait, and no worker has room for one
  };
  std::vector<Worker> workers;
  std::vector<Link> links;
  std::uint64_t input_bytes = 0;
  std::uint64_t output_bytes = 0;
  std::uint64_t records_read = 0;     // taken from the input
  std::uint64_t records_settled = 0;  // of these: done, or skipped
  std::uint64_t records_out = 0;      // that the workers wrote, and that went on
  std::uint64_t waiting = 0;          // read, and with no worker: for one, for their next attempt, for the reader
  std::uint64_t credit = 0;           // records that could be given to workers at once
  std::uint64_t jobs = 0;             // processes that were started
  std::uint64_t retried = 0;          // attempts that were made again
  std::uint64_t dead = 0;             // records that went to the dead letters
  std::uint64_t skipped = 0;          // that an earlier run had done
  std::uint64_t cpu_us = 0;
  std::uint64_t peak_memory_bytes = 0;
  bool output_waits = false;  // for its reader
  bool steady = false;        // it does nothing but when it hears something
  bool joins = false;         // its workers join records of several links, and now only wait for more of them
};

class JobStage {
 public:
  virtual ~JobStage() = default;
  /// The flow ends: what runs may end, nothing new is started.
  virtual void stop_starting() = 0;
  /// One more seat, of a stage that others may join (stage_jobs.h).
  virtual void add_seat(exec::JobClient seat) = 0;
  /// So many workers from now on: those above finish what they have. Requires: at least one, and no keys.
  virtual void set_workers(std::uint32_t workers) = 0;
  virtual JobStageCounts counts() const = 0;
};

}  // namespace sluice::node
