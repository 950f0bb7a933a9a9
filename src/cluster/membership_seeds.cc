#include "cluster/membership_seeds.h"

#include <algorithm>

namespace sluice::cluster {

bool MembershipSeeds::add(const net::Endpoint& endpoint, TimePoint now) {
  if (std::ranges::find(seeds_, endpoint, &Seed::endpoint) != seeds_.end()) return true;
  if (seeds_.size() >= options_.seeds_max) return false;
  seeds_.push_back({.endpoint = endpoint});
  hurry(now);
  return true;
}

void MembershipSeeds::on_answer(const net::Endpoint& from, const NodeId& sender) {
  auto seed = std::ranges::find(seeds_, from, &Seed::endpoint);
  if (seed != seeds_.end()) seed->answered = sender;
}

void MembershipSeeds::hurry(TimePoint now) {
  wait_ = options_.seed_interval_min;
  due_ = now;
}

void MembershipSeeds::put_off(Duration by) { due_ += by; }

std::vector<net::Endpoint> MembershipSeeds::poll_due(bool alone, const Covered& covered, TimePoint now) {
  if (seeds_.empty() || now < due_) return {};
  std::vector<net::Endpoint> endpoints;
  for (const Seed& seed : seeds_)
    if (alone || !covered(seed.endpoint, seed.answered)) endpoints.push_back(seed.endpoint);
  due_ = now + (alone ? wait_ : options_.seed_interval_joined);
  wait_ = std::min(2 * wait_, options_.seed_interval_max);
  return endpoints;
}

std::optional<TimePoint> MembershipSeeds::deadline() const {
  if (seeds_.empty()) return std::nullopt;
  return due_;
}

}  // namespace sluice::cluster
