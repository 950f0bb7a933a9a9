#include "link/worker_times.h"

#include <gtest/gtest.h>

namespace sluice::link {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart = TimePoint(100s);

TEST(WorkerTimes, CountsTheStateThatItIsInUpToTheReading) {
  WorkerTimes times(kStart);
  EXPECT_EQ(times.at(kStart + 2s), (WorkerDurations{.idle = 2s}));
  times.enter(WorkerState::busy, kStart + 3s);
  EXPECT_EQ(times.at(kStart + 7s), (WorkerDurations{.busy = 4s, .idle = 3s}));
}

TEST(WorkerTimes, NoTimePassesForAPlaceThatNobodyHas) {
  WorkerTimes times(kStart);
  times.enter(WorkerState::gone, kStart + 2s);
  EXPECT_EQ(times.at(kStart + 9s), (WorkerDurations{.idle = 2s}));
  times.enter(WorkerState::busy, kStart + 10s);
  EXPECT_EQ(times.at(kStart + 11s), (WorkerDurations{.busy = 1s, .idle = 2s}));
}

TEST(WorkerTimes, StatesAddUpToTheTimeSinceItsPlaceExists) {
  WorkerTimes times(kStart);
  times.enter(WorkerState::busy, kStart + 1s);
  times.enter(WorkerState::held_back, kStart + 3s);
  times.enter(WorkerState::held_back, kStart + 4s);
  times.enter(WorkerState::idle, kStart + 10s);
  WorkerDurations read = times.at(kStart + 15s);
  EXPECT_EQ(read, (WorkerDurations{.busy = 2s, .idle = 6s, .held_back = 7s}));
  EXPECT_EQ(read.total(), 15s);
}

}  // namespace
}  // namespace sluice::link
