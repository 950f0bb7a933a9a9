#include "exec/stray_patience.h"

#include <gtest/gtest.h>

namespace sluice::exec {
namespace {

using namespace std::chrono_literals;
using Step = StrayPatience::Step;

const TimePoint kStart{};

TEST(StrayPatience, TerminatesThenKillsWhoDrainsNothing) {
  StrayPatience patience;
  EXPECT_FALSE(patience.poll_deadline());
  patience.start(kStart);
  EXPECT_EQ(patience.poll_step(kStart + 99ms), Step::none);
  ASSERT_EQ(patience.poll_step(kStart + 100ms), Step::look);
  patience.on_look(false, kStart + 100ms);
  EXPECT_EQ(patience.poll_step(kStart + 100ms), Step::terminate);
  EXPECT_EQ(patience.poll_step(kStart + 2099ms), Step::none);
  EXPECT_EQ(patience.poll_step(kStart + 2100ms), Step::kill);
  EXPECT_FALSE(patience.poll_deadline());
  patience.start(kStart + 3s);
  EXPECT_EQ(patience.poll_step(kStart + 9s), Step::none) << "it is killing already";
}

TEST(StrayPatience, AwaitsWhoDrainsAPipe) {
  StrayPatience patience;
  patience.start(kStart);
  TimePoint now = kStart + 100ms;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(patience.poll_step(now), Step::look);
    patience.on_look(true, now);
    EXPECT_EQ(patience.poll_step(now), Step::none);
    now = *patience.poll_deadline();
  }
  patience.on_look(false, now);
  EXPECT_EQ(patience.poll_step(now), Step::terminate);
}

TEST(StrayPatience, LeavesTheDecisionToAnOwner) {
  StrayPatience patience;
  patience.start(kStart);
  patience.stop();
  EXPECT_EQ(patience.poll_step(kStart + 1h), Step::none);
  patience.on_look(false, kStart + 1h);
  EXPECT_FALSE(patience.poll_deadline());
  patience.start(kStart + 2h);
  EXPECT_EQ(patience.poll_step(kStart + 2h + 100ms), Step::look);
}

}  // namespace
}  // namespace sluice::exec
