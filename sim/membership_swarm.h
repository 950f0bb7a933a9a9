#pragma once
// Random faults for a simulated cluster: the seed draws how large it is, how bad the network is, and which faults there are at
// all, because a run with all of them at once would never see what one of them does alone.
#include <cstdint>
#include <string>

#include "sim/membership_world.h"

namespace sluice::sim {

struct SwarmOptions {
  std::uint64_t seed = 1;
  std::size_t nodes_min = 3;
  std::size_t nodes_max = 40;
};

class MembershipSwarm final {
 public:
  explicit MembershipSwarm(const SwarmOptions& options);

  MembershipWorld& world() { return world_; }
  /// What was drawn, for the message of a failing test.
  std::string description() const;

  void start();
  void run_with_faults(Duration duration);
  /// Ends all faults: whoever does not run is started, the network is whole and loses nothing.
  void heal();

 private:
  struct Plan {
    std::size_t nodes = 0;
    bool kills = false, power_cuts = false, pauses = false, starvation = false, leaves = false, cuts = false,
         one_way_cuts = false;
    double loss = 0, duplicate = 0, stragglers = 0;
    bool persists_incarnation = true;
    Duration fault_gap{};
  };
  static Plan draw(const SwarmOptions& options);
  static WorldOptions world_options(const SwarmOptions& options, const Plan& plan);
  void fault();
  void end_one(ProcessState how);
  void pause_one();
  void starve_one();
  void starve_step(NodeIndex node, std::uint32_t life, TimePoint until);
  void leave_one();
  void cut();
  void restart_later(NodeIndex node);
  void restart(NodeIndex node);
  std::vector<NodeIndex> some_seeds();
  std::optional<NodeIndex> pick_running();
  Duration between(Duration min, Duration max);

  Plan plan_;
  SeededRandom random_;
  MembershipWorld world_;
  bool faulty_ = false;
};

}  // namespace sluice::sim
