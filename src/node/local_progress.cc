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
  std::map<std::size_t, std::size_t> readers;  // of the pipe that a stage has with another
  for (const flow::PlannedLink& planned : plan.links)
    if (planned.carrier == flow::LinkCarrier::kernel_pipe) readers.emplace(planned.link.from, planned.link.to);
  auto next = observers.begin();
  for (std::size_t i = 0; i + 1 < plan.stages.size(); ++i) {
    const flow::PlannedStage& stage = plan.stages[i];
    if (flow::runs_by_job(stage) || stage.program.output == exec::Stream::inherited) continue;
    std::ptrdiff_t programs = stage.mode == flow::RecordMode::spread ? stage.workers : 1;
    if (observers.end() - next < programs) return;
    if (auto reader = readers.find(i); reader != readers.end()) inputs_.emplace(reader->second, std::move(*next));
    next += programs;
  }
}

flow::ProgressSample LocalProgress::sample(TimePoint now, const flow::FlowSummary& flow) const {
  flow::ProgressSample sample{.at = now};
  for (const flow::StageSummary& stage : flow.stages) sample.stages.push_back(sample_stage(stage));
  for (std::size_t reader = 1; reader < flow.stages.size(); ++reader)
    sample.link_fill.push_back(inputs_.contains(reader) ? fill_of(inputs_.at(reader)) : std::nullopt);
  return sample;
}

}  // namespace sluice::node
