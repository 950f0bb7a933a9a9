#pragma once
// What must hold of every run, whatever the faults: watched from outside, with the truth at hand.
//
// Safety, all the time:
// - nobody is imagined: who joins is a node, and was not gone for long;
// - what a node sees of another never goes back to an earlier revision;
// - whoever is healthy, and can reach and be reached, is not lost for longer than a moment.
// Liveness, after healing: all lists agree with the truth.
// It keeps its own model of each view, made from the events, and compares it with the lists at the end.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sim/membership_world.h"
#include "sim/violations.h"

namespace sluice::sim {

class MembershipChecker final : public Observer {
 public:
  struct Options {
    /// Longer than this ago the faults must be, or what they cause is not counted as false.
    Duration settled = std::chrono::seconds(10);
    /// A healthy member that was lost must be back after this.
    Duration return_max = std::chrono::seconds(2);
    /// Who ended longer ago than this must not appear any more.
    Duration resurrection_max = std::chrono::seconds(30);
  };
  MembershipChecker(MembershipWorld& world, const Options& options);
  explicit MembershipChecker(MembershipWorld& world) : MembershipChecker(world, Options{}) {}

  void on_event(MembershipWorld& world, NodeIndex observer, const cluster::MembershipEvent& event) override;
  void on_fault(MembershipWorld& world) override;

  /// What went wrong, in sentences; the first of many.
  const std::vector<std::string>& violations();
  /// Of healthy members by healthy members.
  std::uint64_t false_suspicions() const { return false_suspicions_; }
  std::uint64_t false_deaths() const { return false_deaths_; }

 private:
  struct Truth {
    ProcessState state = ProcessState::none;
    std::uint32_t life = 0;
    TimePoint healthy_since;
    TimePoint ended;
  };
  using Pair = std::pair<NodeIndex, NodeIndex>;  // observer, subject
  void joined(MembershipWorld& world, NodeIndex observer, const cluster::Member& member);
  void gone(MembershipWorld& world, NodeIndex observer, const cluster::Member& member, bool by_itself);
  void check_revision(NodeIndex observer, NodeIndex subject, const cluster::Member& member);
  bool both_healthy(MembershipWorld& world, NodeIndex observer, NodeIndex subject) const;
  void forget_view(NodeIndex observer);

  MembershipWorld& world_;
  Options options_;
  std::vector<Truth> truth_;
  TimePoint network_whole_since_;
  bool network_whole_ = true;
  std::vector<std::unordered_map<NodeIndex, std::pair<std::uint64_t, std::uint64_t>>> revisions_;  // by observer
  std::map<Pair, TimePoint> missing_;
  Violations violations_;
  std::uint64_t false_suspicions_ = 0;
  std::uint64_t false_deaths_ = 0;
};

/// What keeps the lists of all running nodes from being exactly the running nodes; nothing if they are.
std::optional<std::string> disagreement(MembershipWorld& world);

/// Whether every running node sees as many as there are running: quick, and necessary for agreement.
bool counts_agree(MembershipWorld& world);

/// Runs until all lists are right; false if they are not within `limit`.
bool agrees_within(MembershipWorld& world, Duration limit);

}  // namespace sluice::sim
