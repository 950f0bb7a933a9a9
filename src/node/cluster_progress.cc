#include "node/cluster_progress.h"

#include <algorithm>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

constexpr std::size_t kWorkersMax = 16384;  // more than a flow can have

void add(flow::StageSample& stage, const flow::StageSample& worker, bool first) {
  stage.running = worker.running || (!first && stage.running);
  stage.read += worker.read;
  stage.written += worker.written;
  stage.duration = std::max(stage.duration, worker.duration);
  if (worker.linked) stage.linked = ByteCount{stage.linked.value_or(ByteCount{}).value + worker.linked->value};
}

}  // namespace

void ClusterProgress::on_moved(const v1::PartMoved& part) {
  const v1::Moved& moved = part.moved();
  for (const v1::StageMoved& stage : moved.stages()) {
    if (stage.stage() >= stages_ || workers_.size() >= kWorkersMax) continue;
    Worker& worker = workers_[{stage.stage(), part.part()}];
    worker.sample = {.running = stage.running(),
                     .read = {stage.io_read_bytes()},
                     .written = {stage.io_write_bytes()},
                     .duration = std::chrono::microseconds(stage.duration_us())};
    if (stage.has_link_bytes()) worker.sample.linked = ByteCount{stage.link_bytes()};
    worker.output_fill = stage.output_known() ? std::optional(stage.output_fill()) : std::nullopt;
  }
}

flow::ProgressSample ClusterProgress::sample(TimePoint now, const flow::FlowSummary& flow) const {
  flow::ProgressSample sample{.at = now};
  sample.stages.resize(flow.stages.size());
  sample.link_fill.resize(flow.stages.empty() ? 0 : flow.stages.size() - 1);
  std::optional<std::size_t> before;
  for (const auto& [where, worker] : workers_) {
    std::size_t stage = where.first;
    add(sample.stages[stage], worker.sample, before != stage);
    before = stage;
    if (stage < sample.link_fill.size() && worker.output_fill)
      sample.link_fill[stage] = std::max(sample.link_fill[stage].value_or(0), *worker.output_fill);
  }
  return sample;
}

}  // namespace sluice::node
