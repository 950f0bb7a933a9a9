#pragma once
// What one stage on this host has moved, seen from the outside.
// Threading: reads /proc, never waits.
#include <sys/types.h>

#include <optional>

#include "flow/flow_counters.h"
#include "flow/progress.h"
#include "link/pipe_observer.h"

namespace sluice::node {

/// Of a stage that runs: its first process, and all below that.
flow::StageSample sample_processes(pid_t pid);
/// What it does at this moment. It is held back if the pipe that it writes is full and a thread of it waits to write,
/// and idle if the one that it reads is empty and a thread waits to read. Else it works: it runs, or waits for
/// something that is not of the flow, such as a disk, a child, or the time.
struct ProcessLook {
  flow::Doing doing = flow::Doing::busy;
  ByteCount read;  // since the start
  ByteCount written;
  std::optional<ByteCount> input_waiting,
      output_waiting;  // in those pipes; nothing: it has none, or it may not be seen
};
/// Of a process that runs, and all below that.
ProcessLook look_at(pid_t pid);
/// How full a pipe is, 0 to 1. Nothing: it is not known, or the pipe is gone.
std::optional<double> fill_of(const link::PipeObserver& pipe);

}  // namespace sluice::node
