#pragma once
// The thread of a stage of jobs: opens its streams, runs it until it says how it has ended, and tells it to stop.
// Threading: made and destroyed by one thread; `on_end` is called once, on the thread of the stage.
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>

#include "link/local_stream.h"
#include "node/job_stage.h"
#include "node/job_stage_frame.h"
#include "node/job_stage_work.h"

namespace sluice::node {

/// Makes what is the stage's own, which writes into `into`. The frame outlives it.
using MakeJobStageWork = std::function<std::unique_ptr<JobStageWork>(JobStageFrame& frame, link::LocalStream into)>;

/// Destroying it stops it, if it has not ended. Errors: errno; no thread can be started, no descriptor is left, or nobody
/// reads where it writes (EPIPE).
std::expected<std::unique_ptr<JobStage>, int> start_job_stage(JobStageStreams streams, JobStageOptions options,
                                                              std::uint32_t workers, const MakeJobStageWork& make_work,
                                                              std::function<void(JobStageEnd)> on_end);

}  // namespace sluice::node
