#include "sim/flow_account.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace sluice::sim {
namespace {

class Account final {
 public:
  Account(const FlowWorldOptions& options, const std::deque<FlowStage>& stages, const FlowJunction& junction)
      : options_(options), stages_(stages), junction_(junction) {}

  std::vector<std::string> audit() {
    for (const FlowStage& stage : stages_) {
      if (stage.left()) continue;
      audit_taken(stage);
      audit_written(stage);
    }
    for (std::size_t link = 0; link < options_.links.size(); ++link) audit_counts(link);
    return std::move(found_);
  }

 private:
  void audit_taken(const FlowStage& stage) {
    const SimStage& plan = stage.plan();
    for (const auto& [record, times] : stage.taken()) {
      bool on = plan.role == Role::sink || plan.role == Role::merger ||
                stage.written().contains(record + FlowStage::mark(stage.index()));
      if (on == stage.buried().contains(record))
        found_.push_back(fmt::format("{} in {} was {}", record, plan.name, on ? "written, and buried" : "lost"));
    }
  }

  void audit_written(const FlowStage& stage) {
    const SimStage& plan = stage.plan();
    if (plan.role == Role::tap && stage.written().size() != options_.records)
      found_.push_back(fmt::format("{} wrote {} of {} records", plan.name, stage.written().size(), options_.records));
    bool somebody_stays = std::ranges::any_of(
        options_.links, [&](const SimLink& link) { return link.from == stage.index() && !stages_[link.to].left(); });
    for (const auto& [record, times] : stage.written()) {
      std::uint64_t took = audit_readers(stage, record);
      if (!plan.shares || took == 1) continue;
      if (took > 1 || (somebody_stays && !was_lost(record)))
        found_.push_back(fmt::format("{} of {} went to {} readers", record, plan.name, took));
    }
  }

  // How many of those behind the stage took the record.
  std::uint64_t audit_readers(const FlowStage& stage, const std::string& record) {
    std::uint64_t took = 0;
    for (std::size_t number = 0; number < options_.links.size(); ++number) {
      const SimLink& link = options_.links[number];
      if (link.from != stage.index()) continue;
      const FlowStage& reader = stages_[link.to];
      bool has = reader.taken().contains(record);
      took += has ? 1 : 0;
      bool may_miss = stage.plan().shares || reader.left() || junction_.counts(number).dropped.records > 0;
      if (!has && !may_miss)
        found_.push_back(fmt::format("{} never came from {} to {}", record, stage.plan().name, reader.plan().name));
    }
    return took;
  }

  bool was_lost(const std::string& record) const {
    return std::ranges::any_of(stages_, [&](const FlowStage& stage) { return stage.lost().contains(record); });
  }

  // Of a link that drops: what is missing was counted.
  void audit_counts(std::size_t number) {
    const FlowStage& from = stages_[options_.links[number].from];
    const FlowStage& to = stages_[options_.links[number].to];
    if (from.plan().shares || from.left() || to.left()) return;
    link::JunctionCounts counted = junction_.counts(number);
    if (counted.delivered.records + counted.dropped.records != from.written().size())
      found_.push_back(fmt::format("of {} records on link {} {} were delivered and {} dropped", from.written().size(),
                                   number, counted.delivered.records, counted.dropped.records));
  }

  const FlowWorldOptions& options_;
  const std::deque<FlowStage>& stages_;
  const FlowJunction& junction_;
  std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> find_unaccounted(const FlowWorldOptions& options, const std::deque<FlowStage>& stages,
                                          const FlowJunction& junction) {
  return Account(options, stages, junction).audit();
}

}  // namespace sluice::sim
