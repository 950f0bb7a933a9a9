#include "link/adaptive_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

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

// A link that carries a window in a round trip, or less if the producer can't go so fast: `rate_max` a millisecond.
class SimulatedLink {
 public:
  SimulatedLink(std::uint64_t rate_max, Duration round_trip) : rate_max_(rate_max), round_trip_(round_trip) {}

  void carry(AdaptiveWindow& window, int windows) {
    for (int i = 0; i < windows; ++i) {
      std::uint64_t amount = window.size();
      auto needed = std::chrono::duration_cast<Duration>(1ms) * static_cast<Duration::rep>(amount) /
                    static_cast<Duration::rep>(rate_max_);
      now_ += std::max(round_trip_, needed);
      window.on_starved();
      window.on_idle(std::max(round_trip_, needed) / 2);
      window.on_taken(amount, 0ms, now_);
      ++windows_[window.size()];
    }
  }
  std::uint64_t largest() const { return windows_.rbegin()->first; }
  /// Its size most of the time.
  std::uint64_t usual() const {
    return std::ranges::max_element(windows_, {}, [](const auto& size) { return size.second; })->first;
  }

 private:
  std::uint64_t rate_max_;
  Duration round_trip_;
  TimePoint now_ = kBegin;
  std::map<std::uint64_t, int> windows_;  // of each size
};

AdaptiveWindow window_with_trials(std::uint64_t start = 64) {
  return AdaptiveWindow({.size_min = 1, .size_start = start, .size_max = 1 << 20, .size_free = 256});
}

TEST(AdaptiveWindow, AboveWhatIsFreeALargerOneMustCarryMore) {
  AdaptiveWindow window = window_with_trials();
  SimulatedLink link(1000, 1us);  // it is the producer that is slow
  link.carry(window, 2000);
  EXPECT_EQ(link.usual(), 256u);
  EXPECT_EQ(link.largest(), 512u) << "that was tried";
}

TEST(AdaptiveWindow, GrowsToWhatTheRoundTripNeedsAndNoFurther) {
  AdaptiveWindow window = window_with_trials();
  SimulatedLink link(1000, 50ms);  // 50,000 fit
  link.carry(window, 300);
  EXPECT_EQ(link.usual(), 65536u);
  EXPECT_LE(link.largest(), 131072u);
}

TEST(AdaptiveWindow, ALongWayIsFilledWithinAFewRoundTrips) {
  AdaptiveWindow window = window_with_trials();
  SimulatedLink link(1'000'000, 50ms);
  link.carry(window, 25);  // 3 s of which a trial of eight windows each would take 5
  EXPECT_GE(window.size(), 16384u);
}

TEST(AdaptiveWindow, ShrinksToWhatCarriesAsMuch) {
  AdaptiveWindow window = window_with_trials(65536);
  SimulatedLink link(1000, 1ms);
  link.carry(window, 2000);
  EXPECT_LE(window.size(), 1024u);
  EXPECT_GE(window.size(), 512u) << "a half of what the round trip needs carries less";
}

TEST(AdaptiveWindow, ATrialThatFailedIsRepeatedMoreAndMoreSeldom) {
  AdaptiveWindow window = window_with_trials();
  SimulatedLink link(1000, 1us);
  link.carry(window, 1000);
  int trials = 0;
  for (int i = 0; i < 10000; ++i) {
    std::uint64_t before = window.size();
    link.carry(window, 1);
    trials += window.size() > before ? 1 : 0;
  }
  EXPECT_LE(trials, 8);
  EXPECT_GE(trials, 2) << "the link may have changed";
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
