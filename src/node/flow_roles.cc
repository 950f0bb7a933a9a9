#include "node/flow_roles.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "sluice/v1/flows.pb.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {
namespace {

// For workers that wait already, on whichever node, or come back.
constexpr std::chrono::seconds kPatience{1};

}  // namespace

FlowRoles::FlowRoles(const v1::RunStart& start, const FlowId& id) : flow_name_(start.name()), flow_id_(id.text()) {
  for (int i = 0; i < start.stages_size(); ++i) {
    const v1::StageText& text = start.stages(i).text();
    bool has_command = !text.plain_words().empty() || !text.shell_text().empty();
    if (!text.role().empty()) stages_[static_cast<std::size_t>(i)] = {.role = text.role(), .has_own = has_command};
  }
}

void FlowRoles::on_offered(const NodeId& node, const v1::RoleOffer& offer) {
  bool for_us = offer.flow().empty() || offer.flow() == flow_name_ || offer.flow() == flow_id_;
  bool wanted = std::ranges::any_of(
      stages_, [&](const auto& stage) { return !stage.second.ended && stage.second.role == offer.role(); });
  if (!for_us || !wanted || !asked_.insert(offer.id()).second) return;
  waiting_.emplace(offer.id(),
                   std::pair(offer.role(), RoleJoin{.node = node, .offer_id = offer.id(), .host = offer.host()}));
}

std::optional<RoleJoin> FlowRoles::poll_join() {
  if (waiting_.empty()) return std::nullopt;
  auto [role, join] = std::move(waiting_.begin()->second);
  waiting_.erase(waiting_.begin());
  std::pair<const std::size_t, Stage>* best = nullptr;
  for (auto& stage : stages_)
    if (!stage.second.ended && stage.second.role == role &&
        (best == nullptr || stage.second.workers < best->second.workers))
      best = &stage;
  if (best == nullptr) return poll_join();
  ++best->second.workers;
  best->second.tell_at.reset();
  join.stage = best->first;
  return std::move(join);
}

void FlowRoles::on_running(TimePoint now) {
  for (auto& [index, stage] : stages_)
    if (!stage.has_own && stage.workers == 0) stage.tell_at = now + kPatience;
}

void FlowRoles::on_known(std::size_t stage) {
  if (auto known = stages_.find(stage); known != stages_.end()) ++known->second.workers;
}

void FlowRoles::on_gone(std::size_t stage, std::optional<TimePoint> now) {
  auto known = stages_.find(stage);
  if (known == stages_.end() || known->second.workers == 0) return;
  if (--known->second.workers == 0 && !known->second.has_own && !known->second.ended && now)
    known->second.tell_at = *now + kPatience;
}

void FlowRoles::on_ended(std::size_t stage) {
  auto known = stages_.find(stage);
  if (known == stages_.end()) return;
  known->second.ended = true;
  known->second.tell_at.reset();
}

std::optional<FlowRoles::Awaiting> FlowRoles::poll_awaiting(TimePoint now) {
  for (auto& [index, stage] : stages_) {
    if (!stage.tell_at || *stage.tell_at > now) continue;
    stage.tell_at.reset();
    return Awaiting{.stage = index, .role = stage.role};
  }
  return std::nullopt;
}

std::optional<TimePoint> FlowRoles::poll_deadline() const {
  std::optional<TimePoint> due;
  for (const auto& [index, stage] : stages_)
    if (stage.tell_at && (!due || *stage.tell_at < *due)) due = stage.tell_at;
  return due;
}

}  // namespace sluice::node
