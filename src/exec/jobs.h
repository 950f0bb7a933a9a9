#pragma once
// Something that is started by job, as often as its owner asks, and what becomes of each: the processes of a spawner
// (job_client.h), or a worker in the process that asks.
//
// Nothing here waits: what can't go at once goes with `flush`, when `wants_write` says so, and `descriptor` is polled.
// Threading: belongs to one thread.
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "exec/spawn_protocol.h"

namespace sluice::exec {

class Jobs {
 public:
  /// Descriptors of the caller's, who may close them afterwards.
  struct Streams {
    int input = -1, output = -1;
    int error = -1;        // -1: where the launch has it
    int input_guard = -1;  // -1: none
  };

  virtual ~Jobs() = default;
  /// Errors: errno; the streams could not be passed, the job will not run, and no other can: close it.
  virtual std::expected<void, int> start(JobNumber job, std::uint32_t seat, std::vector<std::string> arguments,
                                         const Streams& streams) = 0;
  virtual void release_input(JobNumber job) = 0;
  virtual void signal(JobNumber job, int signal) = 0;
  /// No other job is wanted: it has ended when its last job has.
  virtual void close() = 0;

  virtual int descriptor() const = 0;
  virtual bool is_open() const = 0;
  virtual bool wants_write() const = 0;
  virtual void flush() = 0;

  /// Takes what has arrived. False: it is gone, or takes no more jobs; what it said before is still polled.
  virtual bool receive() = 0;
  virtual std::optional<JobEvent> poll_event() = 0;
};

}  // namespace sluice::exec
