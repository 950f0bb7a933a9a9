#include "node/local_progress.h"

#include "node/stage_sampler.h"

namespace sluice::node {
namespace {

flow::StageSample sample_stage(const flow::StageSummary& stage) {
  if (!stage.end) return sample_processes(stage.pid);
  return {
      .running = false, .read = {stage.io_read_bytes}, .written = {stage.io_write_bytes}, .duration = stage.duration};
}

}  // namespace

flow::ProgressSample LocalProgress::sample(TimePoint now, const flow::FlowSummary& flow) const {
  flow::ProgressSample sample{.at = now};
  for (const flow::StageSummary& stage : flow.stages) sample.stages.push_back(sample_stage(stage));
  for (std::size_t i = 0; i + 1 < flow.stages.size(); ++i)
    sample.link_fill.push_back(i < observers_.size() ? fill_of(observers_[i]) : std::nullopt);
  return sample;
}

}  // namespace sluice::node
