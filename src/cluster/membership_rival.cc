#include "cluster/membership_rival.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;

constexpr Duration kChallengeGap = 300ms;
constexpr unsigned kChallenges = 6;
// Heard twice, so far apart: no datagram that was on its way when our last life ended.
constexpr Duration kProofGap = 500ms;

}  // namespace

bool MembershipRival::on_sighting(std::uint64_t instance, const net::Endpoint& where, TimePoint now) {
  if (instance == own_ || (suspect_ && suspect_->instance == instance)) return false;
  suspect_ = Suspect{.instance = instance, .endpoint = where, .seen = now};
  return true;
}

void MembershipRival::on_datagram(std::uint64_t instance, const net::Endpoint& from, TimePoint now) {
  if (instance == own_) return;  // our own, sent to an address of ours
  on_sighting(instance, from, now);
  if (!suspect_->heard) {
    suspect_->heard = now;
    suspect_->endpoint = from;
  } else if (now - *suspect_->heard >= kProofGap) {
    suspect_->proven = true;
  }
}

std::optional<net::Endpoint> MembershipRival::poll_challenge(TimePoint now) {
  auto due = deadline();
  if (!due || *due > now || suspect_->challenges == kChallenges) return std::nullopt;
  ++suspect_->challenges;
  return suspect_->endpoint;
}

std::optional<TimePoint> MembershipRival::deadline() const {
  if (!suspect_ || suspect_->settled || suspect_->proven) return std::nullopt;
  return suspect_->seen + suspect_->challenges * kChallengeGap;
}

std::optional<MembershipRival::Proof> MembershipRival::poll_proof() {
  if (!suspect_ || !suspect_->proven || suspect_->told) return std::nullopt;
  suspect_->told = true;
  return Proof{.endpoint = suspect_->endpoint, .we_yield = own_ < suspect_->instance};
}

bool MembershipRival::poll_settled(TimePoint now) {
  if (!suspect_ || suspect_->settled) return false;
  bool unanswered = suspect_->challenges == kChallenges && now >= suspect_->seen + kChallenges * kChallengeGap;
  suspect_->settled = unanswered || (suspect_->proven && own_ > suspect_->instance);
  return suspect_->settled;
}

}  // namespace sluice::cluster
