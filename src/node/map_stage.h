#pragma once
// A `@map` stage at work: gives its records to processes that stay running, and writes on what they answer
// (flow/map_work.h decides which, and what runs again when one was lost).
//
// A process gets more when its pipe takes more: the pipe is short at first, so that little waits in front of one that is
// slow, and grows for one that is fast. A process that keeps its answers in a buffer while nothing more can be given to it
// is told the end of its input and started again. It has a thread of its own, as record_spread has.
// A stage that fails keeps its output, and the inputs of its processes, open until it is destroyed: who reads there must
// be killed first, or it takes a part for the whole.
// Threading: made and destroyed by one thread; `on_end` is called once, on the thread of the stage.
#include <expected>
#include <functional>
#include <memory>

#include "flow/map_work.h"
#include "node/job_stage.h"

namespace sluice::node {

struct MapStageOptions {
  JobStageOptions stage;
  flow::MapWorkOptions work;
  bool ordered = false;
};

/// Destroying it stops it, if it has not ended. Errors: errno; no thread can be started, no descriptor is left, or nobody
/// reads where it writes (EPIPE).
std::expected<std::unique_ptr<JobStage>, int> start_map_stage(JobStageStreams streams, MapStageOptions options,
                                                              std::function<void(JobStageEnd)> on_end);

}  // namespace sluice::node
