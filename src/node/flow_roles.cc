#include "node/flow_roles.h"

#include <algorithm>
#include <utility>

#include "sluice/v1/flows.pb.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {

FlowRoles::FlowRoles(const v1::RunStart& start, const FlowId& id) : flow_name_(start.name()), flow_id_(id.text()) {
  for (int i = 0; i < start.stages_size(); ++i) {
    const v1::StageText& text = start.stages(i).text();
    bool has_command = !text.plain_words().empty() || !text.shell_text().empty();
    if (!text.role().empty()) stages_[static_cast<std::size_t>(i)] = {.role = text.role(), .has_own = has_command};
  }
}

void FlowRoles::on_offered(const NodeId& node, const v1::RoleOffer& offer) {
  bool for_us = offer.flow().empty() || offer.flow() == flow_name_ || offer.flow() == flow_id_;
  bool wanted = std::ranges::any_of(stages_, [&](const auto& stage) { return stage.second.role == offer.role(); });
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
    if (stage.second.role == role && (best == nullptr || stage.second.joined < best->second.joined)) best = &stage;
  ++best->second.joined;
  join.stage = best->first;
  return std::move(join);
}

std::vector<FlowRoles::Awaiting> FlowRoles::awaiting() const {
  std::vector<Awaiting> awaiting;
  for (const auto& [index, stage] : stages_)
    if (!stage.has_own && stage.joined == 0) awaiting.push_back({.stage = index, .role = stage.role});
  return awaiting;
}

}  // namespace sluice::node
