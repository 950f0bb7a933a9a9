#include "node/local_progress.h"

#include "node/stage_sampler.h"

namespace sluice::node {
namespace {

flow::StageSample sample_stage(const flow::StageSummary& stage) {
  if (!stage.end && stage.workers.empty()) return sample_processes(stage.pid);
  flow::StageSample sample{
      .running = false, .read = {stage.io_read_bytes}, .written = {stage.io_write_bytes}, .duration = stage.duration};
  for (const flow::WorkerSummary& worker : stage.workers) {
    if (worker.end) continue;
    flow::StageSample running = sample_processes(worker.pid);
    sample.running = true;
    sample.read += running.read;
    sample.written += running.written;
  }
  return sample;
}

}  // namespace

// The spawner has an observer for the stdout of every program but the last, if that is a pipe.
void LocalProgress::watch(const flow::Plan& plan, std::vector<link::PipeObserver> observers) {
  auto next = observers.begin();
  for (std::size_t i = 0; i + 1 < plan.stages.size(); ++i) {
    const flow::PlannedStage& stage = plan.stages[i];
    if (flow::runs_by_job(stage) || stage.program.output == exec::Stream::inherited) continue;
    std::ptrdiff_t programs = stage.mode == flow::RecordMode::spread ? stage.workers : 1;
    if (observers.end() - next < programs) return;
    if (stage.program.output == exec::Stream::neighbour) observers_.emplace(i, std::move(*next));
    next += programs;
  }
}

flow::ProgressSample LocalProgress::sample(TimePoint now, const flow::FlowSummary& flow) const {
  flow::ProgressSample sample{.at = now};
  for (const flow::StageSummary& stage : flow.stages) sample.stages.push_back(sample_stage(stage));
  for (std::size_t i = 0; i + 1 < flow.stages.size(); ++i)
    sample.link_fill.push_back(observers_.contains(i) ? fill_of(observers_.at(i)) : std::nullopt);
  return sample;
}

}  // namespace sluice::node
