#include "node/seat_window.h"

#include <gtest/gtest.h>

#include <random>

namespace sluice::node {
namespace {

TEST(SeatWindow, GrowsForAProcessThatTakesAllOfItFast) {
  SeatWindow window;
  TimePoint now{std::chrono::seconds(1)};
  std::size_t before = window.size();
  for (int i = 0; i < 64 && window.size() == before; ++i) {
    std::size_t sent = window.room();
    window.on_sent(sent);
    now += std::chrono::microseconds(100);
    window.on_taken(sent, now);
  }
  EXPECT_GT(window.size(), before);
}

TEST(SeatWindow, StaysShortForASlowProcess) {
  SeatWindow window;
  TimePoint now{};
  for (int i = 0; i < 100; ++i) {
    window.on_sent(window.room());
    now += std::chrono::milliseconds(100);
    window.on_taken(SeatWindow::kFirst, now);
  }
  EXPECT_EQ(window.size(), SeatWindow::kFirst);
}

TEST(SeatWindow, NeverLetsMoreBeOnTheWayThanItsSizeWhateverTheOtherEndSays) {
  std::mt19937 random(3);
  SeatWindow window;
  TimePoint now{};
  std::size_t on_the_way = 0;
  for (int i = 0; i < 10'000; ++i) {
    now += std::chrono::microseconds(random() % 20'000);
    if (random() % 2 == 0) {
      std::size_t sent = window.room() == 0 ? 0 : random() % (window.room() + 1);
      window.on_sent(sent);
      on_the_way += sent;
    } else {
      std::size_t said = random() % (2 * SeatWindow::kMost);
      window.on_taken(said, now);
      on_the_way -= std::min(said, on_the_way);
    }
    ASSERT_EQ(window.size() - window.room(), on_the_way);
    ASSERT_LE(window.size(), SeatWindow::kMost);
  }
}

}  // namespace
}  // namespace sluice::node
