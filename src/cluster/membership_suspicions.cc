#include "cluster/membership_suspicions.h"

#include <algorithm>
#include <cmath>

#include "base/require.h"

namespace sluice::cluster {

void MembershipSuspicions::start(const Start& start, TimePoint now) {
  REQUIRE(!contains(start.subject));
  Suspicion& suspicion = suspicions_[start.subject];
  suspicion.revision = start.revision;
  suspicion.accusers = {start.accuser};
  // Neither the subject nor the first accuser can confirm it.
  std::size_t others = start.members > 2 ? start.members - 2 : 0;
  suspicion.confirmations_possible = std::min<std::size_t>(options_.confirmations, others);
  set_end(start.subject, suspicion, now + patience(suspicion));
}

// Lifeguard's formula (Dadgar, Phillips and Currey 2018, section 4.2): max - (max - min) * log(c + 1) / log(k + 1).
Duration MembershipSuspicions::patience(const Suspicion& suspicion) const {
  if (suspicion.confirmations_possible == 0) return options_.suspicion_min;
  double confirmations = static_cast<double>(suspicion.accusers.size() - 1);
  double share = std::log(confirmations + 1) / std::log(static_cast<double>(suspicion.confirmations_possible) + 1);
  auto spread = std::chrono::duration<double, Duration::period>(options_.suspicion_max - options_.suspicion_min);
  auto patience = options_.suspicion_max - std::chrono::duration_cast<Duration>(spread * share);
  return std::max(patience, options_.suspicion_min);
}

bool MembershipSuspicions::confirm(const NodeId& subject, const NodeId& accuser) {
  auto found = suspicions_.find(subject);
  REQUIRE(found != suspicions_.end());
  Suspicion& suspicion = found->second;
  if (suspicion.accusers.size() > suspicion.confirmations_possible) return false;
  if (std::ranges::find(suspicion.accusers, accuser) != suspicion.accusers.end()) return false;
  Duration before = patience(suspicion);
  suspicion.accusers.push_back(accuser);
  set_end(subject, suspicion, suspicion.ends - (before - patience(suspicion)));
  return true;
}

void MembershipSuspicions::erase(const NodeId& subject) {
  auto found = suspicions_.find(subject);
  if (found == suspicions_.end()) return;
  ends_.erase({found->second.ends, subject});
  suspicions_.erase(found);
}

std::optional<Accusation> MembershipSuspicions::accusation(const NodeId& subject) const {
  auto found = suspicions_.find(subject);
  if (found == suspicions_.end()) return std::nullopt;
  return Accusation{.state = MemberState::suspect,
                    .subject = subject,
                    .revision = found->second.revision,
                    .accuser = found->second.accusers.back()};
}

std::optional<NodeId> MembershipSuspicions::poll_expired(TimePoint now) const {
  if (ends_.empty() || ends_.begin()->first > now) return std::nullopt;
  return ends_.begin()->second;
}

void MembershipSuspicions::put_off(const NodeId& subject, TimePoint until) {
  auto found = suspicions_.find(subject);
  REQUIRE(found != suspicions_.end());
  set_end(subject, found->second, until);
}

void MembershipSuspicions::put_off_all(Duration by) {
  for (auto& [subject, suspicion] : suspicions_) set_end(subject, suspicion, suspicion.ends + by);
}

void MembershipSuspicions::set_end(const NodeId& subject, Suspicion& suspicion, TimePoint ends) {
  ends_.erase({suspicion.ends, subject});
  suspicion.ends = ends;
  ends_.emplace(ends, subject);
}

std::optional<TimePoint> MembershipSuspicions::deadline() const {
  if (ends_.empty()) return std::nullopt;
  return ends_.begin()->first;
}

}  // namespace sluice::cluster
