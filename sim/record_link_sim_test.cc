// What a record link promises, under faults of every kind: issue 4, section 1, and docs/protocol-records.md.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "sim/record_link_world.h"
#include "sim/seed.h"

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;

void expect_no_violation(const RecordLinkWorld& world) {
  for (const std::string& violation : world.violations()) ADD_FAILURE() << violation;
}

// Safety first, under faults; then everything must come to its end.
void expect_lossless(RecordLinkWorld& world) {
  world.run_for(500ms);
  world.heal();
  ASSERT_TRUE(world.run_until_finished(10min)) << world.describe();
  expect_no_violation(world);
  for (link::RecordId record = 1; record <= world.records_made(); ++record)
    EXPECT_TRUE(world.times_done(record) > 0 || world.buried().contains(record)) << "record " << record << " is lost";
}

std::string rerun(std::uint64_t seed) { return fmt::format("rerun: SIM_SEED={} ctest -L sim -R RecordLinkSim", seed); }

TEST(RecordLinkSim, LosesNothingUnderAnyFaults) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 2000; ++seed) {
    SCOPED_TRACE(rerun(seed));
    RecordLinkWorld world(record_swarm_options(seed));
    expect_lossless(world);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(RecordLinkSim, RepeatsNothingWhenOnlyConnectionsBreak) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 300; ++seed) {
    SCOPED_TRACE(rerun(seed));
    RecordLinkOptions options = record_swarm_options(seed);
    options.cuts = 40;
    options.crashes = options.losses = options.rejections = options.drains = options.stops = 0;
    options.producer.reattach_max = 1h;
    RecordLinkWorld world(options);
    expect_lossless(world);
    for (link::RecordId record = 1; record <= world.records_made(); ++record)
      EXPECT_EQ(world.times_done(record), 1u) << "record " << record;
    if (testing::Test::HasFailure()) return;
  }
}

TEST(RecordLinkSim, ASeedReplaysExactly) {
  std::uint64_t first = seed_from_env_or_random();
  for (std::uint64_t seed = first; seed < first + 50; ++seed) {
    SCOPED_TRACE(rerun(seed));
    std::uint64_t traces[2];
    for (std::uint64_t& trace : traces) {
      RecordLinkWorld world(record_swarm_options(seed));
      world.run_for(300ms);
      trace = world.trace();
    }
    EXPECT_EQ(traces[0], traces[1]);
  }
}

}  // namespace
}  // namespace sluice::sim
