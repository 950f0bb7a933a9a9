// What a chain of record links promises when any part of it dies: DESIGN section 3, the row `worker` and the sentence on
// taps; docs/protocol-records.md.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/record_chain_world.h"
#include "sim/seed.h"

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;

std::string rerun(std::uint64_t seed) { return fmt::format("rerun: SIM_SEED={} ctest -L sim -R RecordChainSim", seed); }

// Everything must come to its end, and all of it to the sinks.
void expect_lossless(RecordChainWorld& world) {
  world.heal();
  ASSERT_TRUE(world.run_until_finished(10min)) << world.describe();
  EXPECT_THAT(world.violations(), IsEmpty());
  EXPECT_THAT(world.lost(), IsEmpty());
}

TEST(RecordChainSim, LosesNothingUnderAnyFaults) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 1000; ++seed) {
    SCOPED_TRACE(rerun(seed));
    RecordChainWorld world(chain_swarm_options(seed));
    world.run_for(300ms);
    expect_lossless(world);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(RecordChainSim, RepeatsNothingWhenOnlyConnectionsBreak) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 200; ++seed) {
    SCOPED_TRACE(rerun(seed));
    RecordChainOptions options = chain_swarm_options(seed);
    options.cuts = 40;
    options.crashes = options.losses = options.tap_crashes = options.stops = 0;
    options.producer.reattach_max = 1h;
    RecordChainWorld world(options);
    world.run_for(300ms);
    expect_lossless(world);
    EXPECT_LE(world.times_done_max(), 1u);
    if (testing::Test::HasFailure()) return;
  }
}

// A run of few records is gone through as often as it has steps, and each time somebody dies at the next one.
class RecordChainCrash : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Layers, RecordChainCrash, testing::Values(0, 1, 2, 3));

RecordChainOptions few_records(std::uint64_t seed) {
  RecordChainOptions options{.seed = seed, .records = 8, .workers = {2, 1, 1}};
  options.producer.reattach_max = 30ms;
  options.consumer.records = {.size_min = 1, .size_start = 2, .size_max = 4};
  return options;
}

std::uint64_t steps_without_faults(const RecordChainOptions& options) {
  RecordChainWorld world(options);
  EXPECT_TRUE(world.run_until_finished(1min));
  return world.steps();
}

TEST_P(RecordChainCrash, AtAnyStepLosesNothing) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 5; ++seed) {
    std::uint64_t steps = steps_without_faults(few_records(seed));
    ASSERT_GT(steps, 50u);
    for (std::uint64_t at = 0; at < steps; ++at) {
      SCOPED_TRACE(fmt::format("{}, at step {}", rerun(seed), at));
      RecordChainWorld world(few_records(seed));
      for (std::uint64_t step = 0; step < at; ++step) world.step();
      world.crash(GetParam(), 0);
      expect_lossless(world);
      // What was in somebody's hands may come once more, and nothing else.
      EXPECT_LE(world.times_done_max(), 2u);
      if (testing::Test::HasFailure()) return;
    }
  }
}

// Nobody behind a tap that has died may take what came so far for all; what it was told is settled has come to the sinks.
TEST(RecordChainSim, ATapThatDiesAtAnyStepAndIsNotReplayableEndsNoLink) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 10; ++seed) {
    RecordChainOptions options = few_records(seed);
    options.replayable = false;
    std::uint64_t steps = steps_without_faults(options), broken = 0;
    for (std::uint64_t at = 0; at < steps; ++at) {
      SCOPED_TRACE(fmt::format("{}, at step {}", rerun(seed), at));
      RecordChainWorld world(options);
      for (std::uint64_t step = 0; step < at; ++step) world.step();
      bool all_was_settled = world.settled_below() > options.records;
      world.crash(0, 0);
      broken += world.broken() ? 1 : 0;
      world.run_for(1s);
      EXPECT_THAT(world.violations(), IsEmpty());
      EXPECT_FALSE(world.finished() && !all_was_settled);
      if (!all_was_settled) {
        EXPECT_FALSE(world.some_end_was_heard());
      }
      for (link::RecordId record : world.lost()) EXPECT_GE(record, world.settled_below());
      if (testing::Test::HasFailure()) return;
    }
    EXPECT_GT(broken, steps / 2);
  }
}

TEST(RecordChainSim, ASeedReplaysExactly) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 30; ++seed) {
    SCOPED_TRACE(rerun(seed));
    std::uint64_t traces[2];
    for (std::uint64_t& trace : traces) {
      RecordChainWorld world(chain_swarm_options(seed));
      world.run_for(200ms);
      trace = world.trace();
    }
    EXPECT_EQ(traces[0], traces[1]);
  }
}

}  // namespace
}  // namespace sluice::sim
