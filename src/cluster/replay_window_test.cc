#include "cluster/replay_window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <vector>

#include "base/random.h"

namespace sluice::cluster {
namespace {

bool take(ReplayWindow& window, std::uint64_t counter) {
  if (!window.is_new(counter)) return false;
  window.accept(counter);
  return true;
}

TEST(ReplayWindow, TakesEachOnceInEveryOrder) {
  std::vector<std::uint64_t> order = {1, 2, 3, 63, 64, 65, 448};
  do {
    ReplayWindow window;
    for (std::uint64_t counter : order) EXPECT_TRUE(take(window, counter));
    for (std::uint64_t counter : order) EXPECT_FALSE(take(window, counter));
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(ReplayWindow, EndsWhereItSays) {
  ReplayWindow window;
  EXPECT_FALSE(take(window, 0));
  EXPECT_TRUE(take(window, 10'000));
  EXPECT_FALSE(take(window, 10'000 - kReplayWindow));
  EXPECT_TRUE(take(window, 10'001 - kReplayWindow));
  EXPECT_FALSE(take(window, 10'001 - kReplayWindow));
}

TEST(ReplayWindow, WorksUpToTheLastCounter) {
  constexpr std::uint64_t kLast = std::numeric_limits<std::uint64_t>::max();
  ReplayWindow window;
  EXPECT_TRUE(take(window, 5));
  EXPECT_TRUE(take(window, kLast));
  EXPECT_TRUE(take(window, kLast - 1));
  EXPECT_FALSE(take(window, kLast));
  EXPECT_FALSE(take(window, 5));
}

TEST(ReplayWindow, AgreesWithASet) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    ReplayWindow window;
    std::set<std::uint64_t> seen;
    std::uint64_t greatest = 0;
    for (int i = 0; i < 2'000; ++i) {
      const std::uint64_t ahead = random.below(20) == 0 ? random.below(2'000) : random.below(4);
      const std::uint64_t counter = greatest + ahead - std::min(greatest + ahead, random.below(600));
      const bool late = greatest >= counter && greatest - counter >= kReplayWindow;
      const bool expected = counter != 0 && !late && !seen.contains(counter);
      ASSERT_EQ(take(window, counter), expected) << counter << " behind " << greatest;
      seen.insert(counter);
      greatest = std::max(greatest, counter);
    }
  }
}

}  // namespace
}  // namespace sluice::cluster
