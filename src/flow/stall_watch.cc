#include "flow/stall_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/require.h"

namespace sluice::flow {

std::optional<StallFinding> StallWatch::on_look(std::vector<StallParty> parties, TimePoint now) {
  REQUIRE(parties_.empty() || parties_.size() == parties.size());
  const bool anew = parties_.empty() || now - looked_ > patience_ / 2;
  looked_ = now;
  since_.resize(parties.size(), now);
  suspected_.resize(parties.size());
  for (std::size_t i = 0; i < parties.size(); ++i) {
    if (!anew && parties[i] == parties_[i]) continue;
    since_[i] = now;
    suspected_[i] = false;
  }
  parties_ = std::move(parties);
  const std::vector<bool> all_stuck = stuck(now);
  for (std::size_t i = 0; i < parties_.size(); ++i) {
    if (!all_stuck[i] || !parties_[i].joins) continue;
    if (auto cycle = cycle_through(i, all_stuck)) return StallFinding{.stalled = true, .sentence = tell(*cycle)};
  }
  return suspect(now);
}

std::optional<StallFinding> StallWatch::suspect(TimePoint now) {
  for (std::size_t i = 0; i < parties_.size(); ++i) {
    const StallParty& party = parties_[i];
    if (party.suspicion.empty() || suspected_[i] || now - since_[i] < patience_) continue;
    suspected_[i] = true;
    return StallFinding{.sentence = fmt::format(
                            "nothing has moved for {}: {}, as many as it may; if it waits for their counterparts, {}",
                            format_duration(patience_), party.suspicion, party.advice)};
  }
  return std::nullopt;
}

// All that have waited long enough, but for those that can go on when another of all of them does.
std::vector<bool> StallWatch::stuck(TimePoint now) const {
  std::vector<bool> stuck(parties_.size());
  for (std::size_t i = 0; i < parties_.size(); ++i)
    stuck[i] = parties_[i].waits != StallParty::Waits::nothing && now - since_[i] >= patience_;
  auto is_stuck = [&](const StallParty::Other& other) { return stuck[other.party]; };
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t i = 0; i < parties_.size(); ++i) {
      const StallParty& party = parties_[i];
      if (!stuck[i]) continue;
      bool needs_one = party.waits == StallParty::Waits::one;
      bool stays = needs_one ? !party.others.empty() && std::ranges::all_of(party.others, is_stuck)
                             : std::ranges::any_of(party.others, is_stuck);
      if (stays) continue;
      stuck[i] = false;
      changed = true;
    }
  }
  return stuck;
}

// The shortest way from the joint back to it.
std::optional<std::vector<std::size_t>> StallWatch::cycle_through(std::size_t joint,
                                                                  const std::vector<bool>& stuck) const {
  std::vector<std::optional<std::size_t>> came_from(parties_.size());
  std::vector<std::size_t> reached{joint};
  for (std::size_t at = 0; at < reached.size(); ++at) {
    for (const StallParty::Other& other : parties_[reached[at]].others) {
      if (!stuck[other.party] || came_from[other.party]) continue;
      came_from[other.party] = reached[at];
      reached.push_back(other.party);
    }
  }
  if (!came_from[joint]) return std::nullopt;
  std::vector<std::size_t> cycle;
  for (std::size_t at = *came_from[joint]; at != joint; at = *came_from[at]) cycle.push_back(at);
  cycle.push_back(joint);
  std::ranges::reverse(cycle);
  return cycle;
}

const StallParty::Other& StallWatch::step(std::size_t from, std::size_t to) const {
  auto found = std::ranges::find(parties_[from].others, to, &StallParty::Other::party);
  INVARIANT(found != parties_[from].others.end());
  return *found;
}

// From the copy on, as the records go: who reads the sentence thinks of his file.
std::string StallWatch::tell(const std::vector<std::size_t>& cycle) const {
  std::vector<std::size_t> told = cycle;
  auto copy = std::ranges::find(told, StallParty::Waits::all, [&](std::size_t i) { return parties_[i].waits; });
  std::ranges::rotate(told, copy == told.end() ? told.begin() : copy);
  std::vector<std::string> waits, advice;
  for (std::size_t i = 0; i < told.size(); ++i) {
    waits.push_back(step(told[i], told[(i + 1) % told.size()]).why);
    if (!parties_[told[i]].advice.empty()) advice.push_back(parties_[told[i]].advice);
  }
  std::ranges::reverse(advice);  // the joint's first
  return fmt::format("every stage waits for another since {}: {}; {}", format_duration(patience_),
                     fmt::join(waits, ", "), fmt::join(advice, ", or "));
}

}  // namespace sluice::flow
