#include "cluster/membership_watch.h"

#include <algorithm>

namespace sluice::cluster {

void MembershipWatch::set_watched(std::vector<NodeId> ids, TimePoint now) {
  if (ids == watched_) return;
  watched_ = std::move(ids);
  ++version_;
  std::erase_if(lines_, [this](const auto& entry) { return !watches(entry.first); });
  for (const NodeId& id : watched_) {
    auto [line, is_new] = lines_.try_emplace(id);
    if (!is_new) continue;
    line->second = {.wait = options_.redial_interval_min, .due = now + options_.redial_interval_min};
    ask(id);
  }
}

bool MembershipWatch::watches(const NodeId& id) const { return std::ranges::find(watched_, id) != watched_.end(); }

void MembershipWatch::ask(const NodeId& id) {
  if (std::ranges::find(asked_, id) != asked_.end()) return;
  asked_.push_back(id);
  dials_.push_back(id);
}

void MembershipWatch::on_connected(const NodeId& id) {
  std::erase(asked_, id);
  retried_.erase(id);
  auto line = lines_.find(id);
  if (line == lines_.end()) return;
  line->second.connected = true;
  line->second.wait = options_.redial_interval_min;
}

void MembershipWatch::on_closed(const NodeId& id, bool at_once, TimePoint now) {
  std::erase(asked_, id);
  auto line = lines_.find(id);
  if (line != lines_.end()) {
    line->second.connected = false;
    line->second.due = now + line->second.wait;
    line->second.wait = std::min(2 * line->second.wait, options_.redial_interval_max);
  }
  if (at_once) {
    retried_.insert(id);
    ask(id);
  } else {
    retried_.erase(id);
  }
}

void MembershipWatch::on_deadline(TimePoint now) {
  for (auto& [id, line] : lines_) {
    if (line.connected || line.due > now) continue;
    line.due = now + line.wait;
    ask(id);
  }
}

std::optional<TimePoint> MembershipWatch::deadline() const {
  std::optional<TimePoint> earliest;
  for (const auto& [id, line] : lines_)
    if (!line.connected && (!earliest || line.due < *earliest)) earliest = line.due;
  return earliest;
}

std::optional<NodeId> MembershipWatch::poll_dial() {
  if (dials_.empty()) return std::nullopt;
  NodeId id = dials_.front();
  dials_.pop_front();
  return id;
}

}  // namespace sluice::cluster
