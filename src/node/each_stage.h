#pragma once
// An `@each` stage at work: cuts its input into records, runs a process for each batch of them, and writes on what they
// print, whole and one behind the other (flow/each_work.h decides which, when and how often).
//
// A record goes to its process on stdin, which is whole and closed when the process starts, or in place of `{}`. The
// output is held until the process has exited with 0. It has a thread of its own, as record_spread has.
// A stage that fails keeps its output open until it is destroyed: who reads there must be killed first, or it takes a
// part for the whole.
// Threading: made and destroyed by one thread; `on_end` is called once, on the thread of the stage.
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>

#include "flow/each_work.h"
#include "flow/record_command.h"
#include "node/job_stage.h"

namespace sluice::node {

struct EachStageOptions {
  JobStageOptions stage;
  flow::EachWorkOptions work;
  std::uint32_t records = 1;  // a process
  flow::RecordCommand command;
};

/// Destroying it stops it, if it has not ended. Errors: errno; no thread can be started, no descriptor is left, or nobody
/// reads where it writes (EPIPE).
std::expected<std::unique_ptr<JobStage>, int> start_each_stage(JobStageStreams streams, EachStageOptions options,
                                                               std::function<void(JobStageEnd)> on_end);

}  // namespace sluice::node
