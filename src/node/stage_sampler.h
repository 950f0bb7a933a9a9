#pragma once
// What one stage on this host has moved, seen from the outside.
// Threading: reads /proc, never waits.
#include <sys/types.h>

#include <optional>

#include "flow/progress.h"
#include "link/pipe_observer.h"

namespace sluice::node {

/// Of a stage that runs: its first process, and all below that.
flow::StageSample sample_processes(pid_t pid);
/// How full a pipe is, 0 to 1. Nothing: it is not known, or the pipe is gone.
std::optional<double> fill_of(const link::PipeObserver& pipe);

}  // namespace sluice::node
