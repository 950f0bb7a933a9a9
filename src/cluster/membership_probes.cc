#include "cluster/membership_probes.h"

#include <algorithm>

#include "base/require.h"

namespace sluice::cluster {

std::optional<std::uint32_t> MembershipProbes::start(const NodeId& target, std::uint32_t sequence, unsigned factor,
                                                     TimePoint now) {
  REQUIRE(factor >= 1);
  if (probes_.size() >= options_.probes_max || asks(target)) return std::nullopt;
  Probe probe{.target = target, .started = now, .factor = factor};
  probe.due = due_of(probe);
  probes_.emplace(sequence, std::move(probe));
  return sequence;
}

TimePoint MembershipProbes::due_of(const Probe& probe) const {
  switch (probe.next) {
    case Step::retry:
      return probe.started + probe.factor * options_.probe_retry;
    case Step::last_try:
      return probe.started + probe.factor * options_.probe_last_try;
    case Step::failed:
      break;
  }
  return probe.started + probe.factor * options_.probe_timeout;
}

std::optional<MembershipProbes::Due> MembershipProbes::poll_due(TimePoint now) {
  auto found = std::ranges::find_if(probes_, [&](const auto& entry) { return entry.second.due <= now; });
  if (found == probes_.end()) return std::nullopt;
  Probe& probe = found->second;
  Due due{.step = probe.next,
          .sequence = found->first,
          .target = probe.target,
          .started = probe.started,
          .relays_asked = probe.relays.size(),
          .relays_answered = probe.relays_answered};
  if (probe.next == Step::failed) {
    probes_.erase(found);
    return due;
  }
  probe.next = probe.next == Step::retry ? Step::last_try : Step::failed;
  probe.due = std::max(due_of(probe), now);
  return due;
}

std::optional<TimePoint> MembershipProbes::deadline() const {
  std::optional<TimePoint> earliest;
  for (const auto& [sequence, probe] : probes_)
    if (!earliest || probe.due < *earliest) earliest = probe.due;
  return earliest;
}

bool MembershipProbes::on_ack(const NodeId& sender, std::uint32_t sequence) {
  auto found = probes_.find(sequence);
  if (found == probes_.end() || found->second.target != sender) return false;
  probes_.erase(found);
  return true;
}

void MembershipProbes::note_relay(std::uint32_t sequence, const NodeId& relay) {
  auto found = probes_.find(sequence);
  REQUIRE(found != probes_.end());
  found->second.relays.push_back(relay);
}

bool MembershipProbes::was_relay(std::uint32_t sequence, const NodeId& relay) const {
  auto found = probes_.find(sequence);
  return found != probes_.end() && std::ranges::find(found->second.relays, relay) != found->second.relays.end();
}

void MembershipProbes::on_relay_answer(const NodeId& relay, std::uint32_t sequence, bool reached) {
  if (!was_relay(sequence, relay)) return;
  if (reached)
    probes_.erase(sequence);
  else
    ++probes_.find(sequence)->second.relays_answered;
}

void MembershipProbes::erase(const NodeId& target) {
  std::erase_if(probes_, [&](const auto& entry) { return entry.second.target == target; });
}

bool MembershipProbes::asks(const NodeId& target) const {
  return std::ranges::any_of(probes_, [&](const auto& entry) { return entry.second.target == target; });
}

void MembershipProbes::put_off_all(Duration by) {
  for (auto& [sequence, probe] : probes_) {
    probe.started += by;
    probe.due += by;
  }
}

bool MembershipRelays::start(std::uint32_t sequence, const Requester& requester, TimePoint now) {
  if (relays_.size() >= options_.relayed_max) return false;
  relays_.emplace(sequence, Relay{requester, now + options_.relay_timeout});
  return true;
}

std::optional<MembershipRelays::Requester> MembershipRelays::on_ack(const NodeId& sender, std::uint32_t sequence) {
  auto found = relays_.find(sequence);
  if (found == relays_.end() || found->second.requester.target != sender) return std::nullopt;
  Requester requester = found->second.requester;
  relays_.erase(found);
  return requester;
}

std::optional<MembershipRelays::Requester> MembershipRelays::poll_failed(TimePoint now) {
  auto found = std::ranges::find_if(relays_, [&](const auto& entry) { return entry.second.due <= now; });
  if (found == relays_.end()) return std::nullopt;
  Requester requester = found->second.requester;
  relays_.erase(found);
  return requester;
}

std::optional<TimePoint> MembershipRelays::deadline() const {
  std::optional<TimePoint> earliest;
  for (const auto& [sequence, relay] : relays_)
    if (!earliest || relay.due < *earliest) earliest = relay.due;
  return earliest;
}

}  // namespace sluice::cluster
