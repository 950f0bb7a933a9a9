#include "cluster/membership_seeds.h"

#include <algorithm>

namespace sluice::cluster {

bool MembershipSeeds::add(const net::Endpoint& endpoint, TimePoint now) {
  auto known = std::ranges::find(seeds_, endpoint, &Seed::endpoint);
  if (known != seeds_.end()) {
    known->expires.reset();
    return true;
  }
  if (!make_room()) return false;
  seeds_.push_back({.endpoint = endpoint, .answered = {}, .expires = {}});
  hurry(now);
  return true;
}

bool MembershipSeeds::add_found(const net::Endpoint& endpoint, TimePoint now) {
  auto known = std::ranges::find(seeds_, endpoint, &Seed::endpoint);
  if (known == seeds_.end()) {
    if (!make_room()) return false;
    seeds_.push_back({.endpoint = endpoint, .answered = {}, .expires = now + options_.seed_memory});
  } else if (known->expires) {
    known->expires = now + options_.seed_memory;
  }
  hurry(now);  // somebody has just spoken from there
  return true;
}

// Those that the user named stay.
bool MembershipSeeds::make_room() {
  if (seeds_.size() < options_.seeds_max) return true;
  auto oldest = seeds_.end();
  for (auto seed = seeds_.begin(); seed != seeds_.end(); ++seed)
    if (seed->expires && (oldest == seeds_.end() || *seed->expires < *oldest->expires)) oldest = seed;
  if (oldest == seeds_.end()) return false;
  seeds_.erase(oldest);
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
  std::erase_if(seeds_, [now](const Seed& seed) { return seed.expires && *seed.expires <= now; });
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
