#pragma once
// A `worker` stage at work: gives its records to processes that are linked with a library of ours, over a socket that is
// their stdin, and writes on what they have written for the records that they say are done (flow/worker_work.h decides
// which, when, and what runs again; docs/protocol-workers.md is what they speak).
//
// What a worker writes is kept until its record is done, and then goes on whole: one that is killed in between repeats
// nothing. What a worker prints goes where its stderr goes. It has a thread of its own, as record_spread has.
// A stage that fails keeps its output, and the sockets of its workers, open until it is destroyed: who reads there must
// be killed first, or it takes a part for the whole.
// Threading: made and destroyed by one thread; `on_end` is called once, on the thread of the stage.
#include <expected>
#include <functional>
#include <memory>

#include "flow/worker_work.h"
#include "node/job_stage.h"

namespace sluice::node {

struct WorkerStageOptions {
  JobStageOptions stage;
  flow::WorkerWorkOptions work;
  bool ordered = false;
};

/// Destroying it stops it, if it has not ended. Errors: errno; no thread can be started, no descriptor is left, or nobody
/// reads where it writes (EPIPE).
std::expected<std::unique_ptr<JobStage>, int> start_worker_stage(JobStageStreams streams, WorkerStageOptions options,
                                                                 std::function<void(JobStageEnd)> on_end);

}  // namespace sluice::node
