// A thousand members: what holds for thirty must not depend on their number.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "sim/membership_checker.h"
#include "sim/membership_world.h"
#include "sim/seed.h"

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;

// Sanitizers and unoptimized builds are ten times slower; there the code is to be seen at work, not the numbers.
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
constexpr std::size_t kMembers = 1000;
#else
constexpr std::size_t kMembers = 120;
#endif

class MembershipScale : public testing::Test {
 protected:
  MembershipScale()
      : seed_(seed_from_env_or_random()),
        trace_(__FILE__, __LINE__, fmt::format("rerun: SIM_SEED={} ctest -L sim -R MembershipScale", seed_)),
        world_({.seed = seed_}),
        checker_(world_) {}
  void TearDown() override {
    for (const std::string& violation : checker_.violations()) ADD_FAILURE() << violation;
  }
  void converged() {
    world_.add_nodes(kMembers);
    world_.start_converged();
    world_.run_for(11s);
  }
  ::testing::AssertionResult agree(Duration limit) {
    TimePoint start = world_.now();
    if (!world_.run_until([&] { return counts_agree(world_); }, limit, 50ms))
      return ::testing::AssertionFailure() << disagreement(world_).value_or("the counts differ");
    if (!agrees_within(world_, limit - (world_.now() - start)))
      return ::testing::AssertionFailure() << disagreement(world_).value_or("too late");
    return ::testing::AssertionSuccess() << "after " << format_duration(world_.now() - start);
  }

  std::uint64_t seed_;
  testing::ScopedTrace trace_;
  MembershipWorld world_;
  MembershipChecker checker_;
};

TEST_F(MembershipScale, AllJoinThroughOneSeed) {
  world_.add_nodes(kMembers);
  for (NodeIndex node = 0; node < kMembers; ++node) {
    world_.start(node, {0});
    if (node % 10 == 9) world_.run_for(50ms);
  }
  EXPECT_TRUE(agree(10s));
}

TEST_F(MembershipScale, DeathsAreKnownToAll) {
  converged();
  for (NodeIndex node = 0; node < kMembers / 10; ++node) world_.kill(node * 7);
  EXPECT_TRUE(agree(3s));
  world_.pause(1);
  EXPECT_TRUE(agree(5s));
  world_.resume(1);
  EXPECT_TRUE(agree(2s));
  world_.power_off(2);
  EXPECT_TRUE(agree(5s));
}

TEST_F(MembershipScale, HalvesComeTogetherAgain) {
  converged();
  std::vector<std::uint32_t> group_of;
  for (std::size_t i = 0; i < kMembers; ++i) group_of.push_back(i % 2);
  world_.network().cut(group_of);
  world_.network_changed();
  world_.run_for(30s);
  world_.network().heal();
  world_.network_changed();
  EXPECT_TRUE(agree(10s));
}

TEST_F(MembershipScale, LossAndDisorderAreBorne) {
  converged();
  world_.network().options() = {.straggler_share = 0.05, .loss = 0.1, .duplicate = 0.05};
  for (int i = 0; i < 10; ++i) {
    world_.kill(world_.running_nodes()[world_.random().below(kMembers / 2)]);
    world_.run_for(1s);
  }
  EXPECT_TRUE(agree(5s));
  EXPECT_EQ(checker_.false_deaths(), 0U);
}

}  // namespace
}  // namespace sluice::sim
