// What flows promise whose programs die, fail, leave and stand still: DESIGN section 3, the rows `map`, `each` and
// `worker`; section 4, graphs.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/flow_world.h"
#include "sim/seed.h"

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;

std::string rerun(std::uint64_t seed) { return fmt::format("rerun: SIM_SEED={} ctest -L sim -R FlowSim", seed); }

void expect_accounted(const FlowWorld& world) {
  ASSERT_EQ(world.standstill(), "");
  EXPECT_THAT(world.violations(), IsEmpty());
  EXPECT_THAT(world.unaccounted(), IsEmpty());
}

TEST(FlowSim, LosesAndRepeatsNothingUnderAnyFaults) {
  std::uint64_t first = seed_from_env_or_random(), ended = 0;
  for (std::uint64_t seed = first; seed < first + 1500; ++seed) {
    SCOPED_TRACE(rerun(seed));
    FlowWorld world(flow_swarm_options(seed));
    world.run();
    expect_accounted(world);
    ended += world.processes_ended();
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(ended, 10'000u);
}

TEST(FlowSim, WhatEndsItsProcessIsBuriedAndNothingElse) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 300; ++seed) {
    SCOPED_TRACE(rerun(seed));
    FlowWorldOptions options{.seed = seed, .records = 60, .stages = {}, .links = {}, .junction = {}};
    SeededRandom random(seed);
    auto role = static_cast<Role>(static_cast<int>(Role::worker) + static_cast<int>(random.below(3)));
    options.stages = {{.name = "tap", .role = Role::tap},
                      {.name = "stage",
                       .role = role,
                       .workers = static_cast<std::uint32_t>(1 + random.below(3)),
                       .concurrency = 3,
                       .poison = 7 + random.below(20)},
                      {.name = "sink", .role = Role::sink}};
    options.links = {{.from = 0, .to = 1}, {.from = 1, .to = 2}};
    std::set<std::uint64_t> poison;
    for (std::uint64_t i = options.stages[1].poison; i <= 60; i += options.stages[1].poison) poison.insert(i);
    FlowWorld world(options);
    world.run();
    expect_accounted(world);
    EXPECT_EQ(world.buried(), poison);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(FlowSim, WhatAReaderThatLeavesHasNotSeenGoesToOneThatStays) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 500; ++seed) {
    SCOPED_TRACE(rerun(seed));
    SeededRandom random(seed);
    FlowWorldOptions options{.seed = seed, .records = 1 + random.below(20), .stages = {}, .links = {}, .junction = {}};
    options.stages = {{.name = "tap", .role = Role::tap, .shares = true},
                      {.name = "leaving",
                       .role = Role::sink,
                       .leaves_after = 1 + random.below(3),
                       .service_time_max = std::chrono::milliseconds(1 + random.below(50))},
                      {.name = "staying", .role = Role::sink}};
    options.links = {{.from = 0, .to = 1}, {.from = 0, .to = 2}};
    options.pipe_bytes = 1 + random.below(10);
    FlowWorld world(options);
    world.run();
    expect_accounted(world);
    if (testing::Test::HasFailure()) return;
  }
}

// --- a copy whose branches meet again -----------------------------------------------------------------------------

FlowWorldOptions two_branches(std::uint64_t seed, std::uint32_t held_by_merger) {
  FlowWorldOptions options{.seed = seed, .records = 200, .stages = {}, .links = {}, .junction = {.window_bytes = 100}};
  options.stages = {{.name = "tap", .role = Role::tap},
                    {.name = "quick", .role = Role::worker, .concurrency = 4},
                    {.name = "slow", .role = Role::worker, .service_time_max = 200ms},
                    {.name = "merger", .role = Role::merger, .concurrency = held_by_merger},
                    {.name = "sink", .role = Role::sink}};
  options.links = {
      {.from = 0, .to = 1}, {.from = 0, .to = 2}, {.from = 1, .to = 3}, {.from = 2, .to = 3}, {.from = 3, .to = 4}};
  return options;
}

TEST(FlowSim, ACycleOfFullWindowsIsToldByItsNamesAndWindows) {
  FlowWorld world(two_branches(1, 3));
  world.run();
  EXPECT_THAT(world.standstill(), HasSubstr("slow -> merger -> slow"));
  EXPECT_THAT(world.standstill(), HasSubstr("the link slow -> merger is full"));
  EXPECT_THAT(world.standstill(), HasSubstr("merger holds 3 of 3 records and waits for those of slow"));
  EXPECT_THAT(world.violations(), IsEmpty());
}

TEST(FlowSim, AMergerThatCanHoldWhatOneBranchIsAheadEnds) {
  FlowWorld world(two_branches(1, 200));
  world.run();
  expect_accounted(world);
}

TEST(FlowSim, EveryRunWithAMergerEndsOrIsTold) {
  std::uint64_t first = seed_from_env_or_random(), stood = 0, ended = 0;
  for (std::uint64_t seed = first; seed < first + 300; ++seed) {
    SCOPED_TRACE(rerun(seed));
    SeededRandom random(seed);
    FlowWorldOptions options = two_branches(seed, static_cast<std::uint32_t>(2 + random.below(60)));
    options.records = 1 + random.below(150);
    options.stages[2].service_time_max = std::chrono::milliseconds(1 + random.below(20));
    for (std::size_t branch : {1u, 2u}) {
      options.stages[branch].workers = static_cast<std::uint32_t>(1 + random.below(3));
      if (random.below(2) == 0) options.stages[branch].role = Role::map;
    }
    FlowWorld world(options);
    world.run();
    EXPECT_THAT(world.violations(), IsEmpty());
    if (world.standstill().empty()) {
      EXPECT_THAT(world.unaccounted(), IsEmpty());
      ++ended;
    } else {
      EXPECT_THAT(world.standstill(), HasSubstr("merger holds"));
      ++stood;
    }
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(stood, 10u);
  EXPECT_GT(ended, 10u);
}

TEST(FlowSim, ASeedReplaysExactly) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 50; ++seed) {
    SCOPED_TRACE(rerun(seed));
    std::uint64_t traces[2];
    for (std::uint64_t& trace : traces) {
      FlowWorld world(flow_swarm_options(seed));
      world.run();
      trace = world.trace();
    }
    EXPECT_EQ(traces[0], traces[1]);
  }
}

}  // namespace
}  // namespace sluice::sim
