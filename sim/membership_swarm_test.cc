// Random faults: safety while they last, liveness when they are over, and the same run from the same seed.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "sim/membership_checker.h"
#include "sim/membership_swarm.h"
#include "sim/seed.h"

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;

std::uint64_t run(std::uint64_t seed, Duration faults) {
  MembershipSwarm swarm({.seed = seed});
  SCOPED_TRACE(fmt::format("rerun: SIM_SEED={} ctest -L sim -R MembershipSwarm; {}", seed, swarm.description()));
  MembershipChecker checker(swarm.world());
  swarm.start();
  swarm.run_with_faults(faults);
  swarm.heal();
  EXPECT_TRUE(agrees_within(swarm.world(), 30s)) << *disagreement(swarm.world());
  swarm.world().run_for(15s);
  EXPECT_EQ(disagreement(swarm.world()), std::nullopt);
  for (const std::string& violation : checker.violations()) ADD_FAILURE() << violation;
  return swarm.world().trace();
}

TEST(MembershipSwarm, ListsAreRightAfterAnyFaults) {
  std::uint64_t seed = seed_from_env_or_random();
  bool single = std::getenv("SIM_SEED") != nullptr;
  for (int i = 0; i < (single ? 1 : 20); ++i) {
    run(seed + static_cast<std::uint64_t>(i), 60s);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(MembershipSwarm, ASeedRunsTwiceTheSame) {
  std::uint64_t seed = seed_from_env_or_random();
  EXPECT_EQ(run(seed, 30s), run(seed, 30s));
  EXPECT_NE(run(seed, 30s), run(seed + 1, 30s));
}

}  // namespace
}  // namespace sluice::sim
