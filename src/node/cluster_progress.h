#pragma once
// How the stages of a flow over several hosts do, as these have reported it last. A stage of @all has a worker on each node: what
// they move is added, and it runs while one of them does.
// Threading: a value.
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "node/progress_display.h"

namespace sluice::v1 {
class PartMoved;
}

namespace sluice::node {

class ClusterProgress final : public ProgressSource {
 public:
  /// What a part that is of no flow of ours says is not believed: `stages` bounds what is kept.
  explicit ClusterProgress(std::size_t stages) : stages_(stages) {}

  void on_moved(const v1::PartMoved& moved);
  flow::ProgressSample sample(TimePoint now, const flow::FlowSummary& flow) const override;

 private:
  struct Worker {
    flow::StageSample sample;
    std::optional<double> output_fill;
  };
  std::size_t stages_;
  std::map<std::pair<std::size_t, std::uint32_t>, Worker> workers_;  // by stage and part
};

}  // namespace sluice::node
