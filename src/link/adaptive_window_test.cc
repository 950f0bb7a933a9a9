#include "link/adaptive_window.h"

#include <gtest/gtest.h>

namespace sluice::link {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kBegin{1h};

AdaptiveWindow window_of(std::uint64_t start) {
  return AdaptiveWindow({.size_min = 1, .size_start = start, .size_max = 64, .queue_time_max = 100ms});
}

TEST(AdaptiveWindow, GrowsWhenTheProgramWaitedForAProducerThatHadMore) {
  AdaptiveWindow window = window_of(4);
  window.on_taken(2, 0ms, kBegin);
  window.on_starved();
  window.on_idle(5ms);
  window.on_taken(2, 0ms, kBegin + 10ms);
  EXPECT_EQ(window.size(), 8u);
}

TEST(AdaptiveWindow, StaysWhenTheProgramWaitedForASourceThatHadNoMore) {
  AdaptiveWindow window = window_of(4);
  window.on_taken(2, 0ms, kBegin);
  window.on_idle(5ms);
  window.on_taken(2, 0ms, kBegin + 10ms);
  EXPECT_EQ(window.size(), 4u);
}

TEST(AdaptiveWindow, StaysWhenTheProgramHardlyWaits) {
  AdaptiveWindow window = window_of(4);
  window.on_taken(2, 0ms, kBegin);
  window.on_starved();
  window.on_idle(1ms);
  window.on_taken(2, 0ms, kBegin + 10ms);
  EXPECT_EQ(window.size(), 4u);
}

TEST(AdaptiveWindow, ShrinksWhenRecordsWaitTooLongInFrontOfTheProgram) {
  AdaptiveWindow window = window_of(8);
  window.on_taken(8, 101ms, kBegin);
  EXPECT_EQ(window.size(), 4u);
}

TEST(AdaptiveWindow, KeepsWithinItsLimits) {
  AdaptiveWindow window = window_of(4);
  for (int i = 0; i < 20; ++i) {
    window.on_starved();
    window.on_idle(1s);
    window.on_taken(64, 0ms, kBegin + i * 1s);
  }
  EXPECT_EQ(window.size(), 64u);
  for (int i = 0; i < 20; ++i) window.on_taken(64, 1s, kBegin + 30s + i * 1s);
  EXPECT_EQ(window.size(), 1u);
}

}  // namespace
}  // namespace sluice::link
