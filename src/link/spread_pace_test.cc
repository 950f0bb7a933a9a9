#include "link/spread_pace.h"

#include <gtest/gtest.h>

#include <chrono>
#include <utility>

namespace sluice::link {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMost = std::size_t{1} << 20;

// What a worker is given that needs so long for a burst of that many records.
struct Fed {
  SpreadPace pace;
  TimePoint now{1h};
  std::size_t pipe = SpreadPace::kLeastPipe;

  template <class Needs>
  std::uint64_t after(int bursts, std::size_t record_size, Needs&& needs) {
    for (int i = 0; i < bursts; ++i) {
      std::uint64_t records = pace.burst();
      pace.on_begun(now);
      now += needs(records);
      if (std::size_t grown = pace.on_written(records, records * record_size, kMost, now); grown > 0) pipe = grown;
      EXPECT_TRUE(pace.is_given());
      pace.on_taken(now);
    }
    return pace.burst();
  }
};

TEST(SpreadPace, BeginsWithOneRecord) {
  SpreadPace pace;
  EXPECT_EQ(pace.burst(), 1u);
  EXPECT_FALSE(pace.is_given());
}

TEST(SpreadPace, ASlowWorkerHasFewRecordsInFrontOfIt) {
  Fed slow;
  for (int i = 0; i < 100; ++i) EXPECT_LE(slow.after(1, 5, [](std::uint64_t n) { return n * 25ms; }), 4u);
  EXPECT_EQ(slow.pipe, SpreadPace::kLeastPipe);
}

// It takes a burst when it has worked off the one before, and the clock is never quite right.
TEST(SpreadPace, ASlowWorkerThatReadsAheadHasFewRecordsInFrontOfItToo) {
  Fed slow;
  std::uint64_t before = 1;
  int looks = 0;
  for (int i = 0; i < 500; ++i) {
    std::uint64_t burst = slow.after(1, 5, [&](std::uint64_t n) {
      Duration took = std::exchange(before, n) * 20ms + std::chrono::microseconds(looks++ % 7 * 100 - 300);
      return took;
    });
    ASSERT_LE(burst, 4u) << i;
  }
}

TEST(SpreadPace, AWorkerThatRestsHasWhatItDoesInAMoment) {
  Fed worker;
  std::uint64_t burst = worker.after(50, 5, [](std::uint64_t n) { return n * 1ms; });
  EXPECT_GE(burst, 16u);
  EXPECT_LE(burst, 64u);
}

TEST(SpreadPace, AQuickWorkerHasMuchAndALargePipe) {
  Fed quick;
  EXPECT_GT(quick.after(40, 100, [](std::uint64_t n) { return n * 1us; }), 10'000u);
  EXPECT_TRUE(quick.pace.is_quick());
  EXPECT_GE(quick.pipe, kMost / 2);
}

// However long it is kept waiting for its turn.
TEST(SpreadPace, AQuickWorkerOnASlowMachineHasMuchToo) {
  Fed quick;
  quick.after(40, 100, [](std::uint64_t n) { return 60ms + n * 1us; });
  for (int i = 0; i < 100; ++i) EXPECT_GT(quick.after(1, 100, [](std::uint64_t n) { return 60ms + n * 1us; }), 8000u);
}

TEST(SpreadPace, AWorkerThatGrowsSlowIsGivenLessAgain) {
  Fed worker;
  worker.after(12, 5, [](std::uint64_t n) { return n * 1us; });
  EXPECT_LE(worker.after(20, 5, [](std::uint64_t n) { return n * 25ms; }), 4u);
}

}  // namespace
}  // namespace sluice::link
