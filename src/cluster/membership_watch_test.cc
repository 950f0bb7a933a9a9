#include "cluster/membership_watch.h"

#include <gmock/gmock.h>

#include "cluster/node_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{1h};

class MembershipWatchTest : public testing::Test {
 protected:
  std::vector<NodeId> dials() {
    std::vector<NodeId> ids;
    while (auto id = watch_.poll_dial()) ids.push_back(*id);
    return ids;
  }
  MembershipOptions options_;
  MembershipWatch watch_{options_};
};

TEST_F(MembershipWatchTest, ThoseWhoAreNewAreDialledAtOnce) {
  watch_.set_watched({node(1), node(2)}, kStart);
  EXPECT_THAT(dials(), testing::ElementsAre(node(1), node(2)));
  std::uint64_t version = watch_.version();
  watch_.set_watched({node(2), node(3)}, kStart);
  EXPECT_THAT(dials(), testing::ElementsAre(node(3)));
  EXPECT_GT(watch_.version(), version);
  watch_.set_watched({node(2), node(3)}, kStart);
  EXPECT_EQ(watch_.version(), version + 1);
}

TEST_F(MembershipWatchTest, WhatFailsIsTriedAgainLessAndLessOften) {
  watch_.set_watched({node(1)}, kStart);
  dials();
  TimePoint now = kStart;
  Duration last{};
  for (int i = 0; i < 10; ++i) {
    watch_.on_closed(node(1), false, now);
    Duration wait = *watch_.deadline() - now;
    EXPECT_GE(wait, last);
    EXPECT_LE(wait, options_.redial_interval_max);
    last = wait;
    now += wait;
    watch_.on_deadline(now);
    EXPECT_THAT(dials(), testing::ElementsAre(node(1)));
  }
  EXPECT_EQ(last, options_.redial_interval_max);
}

TEST_F(MembershipWatchTest, AConnectionNeedsNoTimer) {
  watch_.set_watched({node(1)}, kStart);
  dials();
  watch_.on_connected(node(1));
  EXPECT_FALSE(watch_.deadline());
}

TEST_F(MembershipWatchTest, ABrokenOneIsDialledAtOnceAndOnlyOnce) {
  watch_.set_watched({node(1)}, kStart);
  dials();
  watch_.on_connected(node(1));
  watch_.on_closed(node(1), true, kStart);
  watch_.ask(node(1));
  EXPECT_THAT(dials(), testing::ElementsAre(node(1)));
  watch_.ask(node(1));  // not answered yet
  EXPECT_THAT(dials(), testing::IsEmpty());
  watch_.on_closed(node(1), false, kStart);
  watch_.ask(node(1));
  EXPECT_THAT(dials(), testing::ElementsAre(node(1)));
}

}  // namespace
}  // namespace sluice::cluster
