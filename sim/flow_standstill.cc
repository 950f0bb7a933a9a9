#include "sim/flow_standstill.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

namespace sluice::sim {
namespace {

class CycleSearch final {
 public:
  CycleSearch(const FlowWorldOptions& options, const std::deque<FlowStage>& stages,
              const std::vector<std::unique_ptr<StageDriver>>& drivers)
      : options_(options), stages_(stages), drivers_(drivers), seen_(stages.size()) {}

  std::string find() {
    for (std::size_t index = 0; index < stages_.size(); ++index)
      if (std::string found = follow(index); !found.empty()) return found;
    return {};
  }

 private:
  struct Wait {
    std::size_t stage = 0;
    std::string why;
  };

  const std::string& name_of(std::size_t index) const { return stages_[index].plan().name; }

  // Whom a stage that does nothing waits for.
  std::vector<Wait> waits_of(std::size_t index) const {
    const FlowStage& stage = stages_[index];
    if (!stage.writable() || !stage.all_flushed()) return waits_for_readers(index);
    if (stage.over()) return {};
    if (auto full = drivers_[index]->full()) return waits_for_copies(index, *full);
    std::vector<Wait> waits;
    for (std::size_t feeder : feeders(options_, index))
      waits.push_back({feeder, fmt::format("{} waits for {}", name_of(index), name_of(feeder))});
    return waits;
  }

  std::vector<Wait> waits_for_readers(std::size_t index) const {
    std::vector<Wait> waits;
    for (const SimLink& link : options_.links) {
      if (link.from != index || link.slow == link::SlowRule::drop || stages_[link.to].left()) continue;
      if (!stages_[link.to].in.empty())
        waits.push_back({link.to, fmt::format("the link {} -> {} is full", name_of(index), name_of(link.to))});
    }
    return waits;
  }

  std::vector<Wait> waits_for_copies(std::size_t index, const StageDriver::Full& full) const {
    std::vector<Wait> waits;
    for (std::size_t feeder : full.lacks) {
      // Of one that is over, they lie behind those of others on their way.
      bool is_over = stages_[feeder].over() && stages_[feeder].all_flushed();
      waits.push_back(
          {is_over ? index : feeder, fmt::format("{} holds {} of {} records and waits for those of {}", name_of(index),
                                                 full.held, full.held_max, name_of(feeder))});
    }
    return waits;
  }

  std::string follow(std::size_t index) {
    auto begin = std::ranges::find(path_, index, &Wait::stage);
    if (begin != path_.end()) return describe({begin, path_.end()});
    if (seen_[index]) return {};
    seen_[index] = true;
    for (const Wait& wait : waits_of(index)) {
      path_.push_back({index, wait.why});
      std::string found = follow(wait.stage);
      path_.pop_back();
      if (!found.empty()) return found;
    }
    return {};
  }

  std::string describe(const std::vector<Wait>& cycle) const {
    std::string names, reasons;
    for (const Wait& wait : cycle) {
      names += name_of(wait.stage) + " -> ";
      reasons += "; " + wait.why;
    }
    return names + name_of(cycle.front().stage) + reasons;
  }

  const FlowWorldOptions& options_;
  const std::deque<FlowStage>& stages_;
  const std::vector<std::unique_ptr<StageDriver>>& drivers_;
  std::vector<bool> seen_;
  std::vector<Wait> path_;  // from where the search began
};

}  // namespace

std::string find_cycle(const FlowWorldOptions& options, const std::deque<FlowStage>& stages,
                       const std::vector<std::unique_ptr<StageDriver>>& drivers) {
  return CycleSearch(options, stages, drivers).find();
}

}  // namespace sluice::sim
