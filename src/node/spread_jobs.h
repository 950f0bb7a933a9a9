#pragma once
// The workers of a spread stage (`@x8`) that run in seats on other hosts: starts one process in each seat, whose records
// come and go by pipes that others fill and read, and says how they have ended.
//
// What a worker that was lost had been given is lost with it: the stage is broken then, unless that is allowed.
// It has a thread of its own.
// Threading: made and destroyed by one thread; `on_end` is called once, on the thread of the stage.
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "node/job_stage.h"

namespace sluice::node {

struct SpreadWorkerStreams {
  UniqueFd input;   // to read
  UniqueFd output;  // to write
};

struct SpreadJobsOptions {
  std::string text;             // the command, as the user wrote it
  bool losses_allowed = false;  // --on-loss=continue
};

/// Destroying it stops it. Errors: errno; no thread can be started, or no descriptor is left.
std::expected<std::unique_ptr<JobStage>, int> start_spread_jobs(StageJobs jobs,
                                                                std::vector<SpreadWorkerStreams> workers,
                                                                SpreadJobsOptions options,
                                                                std::function<void(JobStageEnd)> on_end);

}  // namespace sluice::node
