#include "cluster/membership_probes.h"

#include <gmock/gmock.h>

#include "cluster/node_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using Step = MembershipProbes::Step;

const TimePoint kStart{1h};

class MembershipProbesTest : public testing::Test {
 protected:
  MembershipOptions options_;
  MembershipProbes probes_{options_};
  MembershipRelays relays_{options_};
};

TEST_F(MembershipProbesTest, GoesThroughItsStepsAndFails) {
  ASSERT_TRUE(probes_.start(node(1), 7, 1, kStart));
  EXPECT_FALSE(probes_.poll_due(kStart));
  EXPECT_EQ(probes_.poll_due(kStart + options_.probe_retry)->step, Step::retry);
  EXPECT_EQ(probes_.poll_due(kStart + options_.probe_last_try)->step, Step::last_try);
  auto failed = probes_.poll_due(kStart + options_.probe_timeout);
  ASSERT_TRUE(failed);
  EXPECT_EQ(failed->step, Step::failed);
  EXPECT_EQ(failed->target, node(1));
  EXPECT_FALSE(probes_.deadline());
}

TEST_F(MembershipProbesTest, AnUnhealthyNodeGivesMoreTime) {
  probes_.start(node(1), 7, 3, kStart);
  EXPECT_EQ(probes_.deadline(), kStart + 3 * options_.probe_retry);
}

TEST_F(MembershipProbesTest, OnlyTheTargetItselfAnswers) {
  probes_.start(node(1), 7, 1, kStart);
  EXPECT_FALSE(probes_.on_ack(node(2), 7));
  EXPECT_FALSE(probes_.on_ack(node(1), 8));
  EXPECT_TRUE(probes_.on_ack(node(1), 7));
  EXPECT_FALSE(probes_.on_ack(node(1), 7));
}

TEST_F(MembershipProbesTest, OnlyARelayThatWasAskedAnswersForTheTarget) {
  probes_.start(node(1), 7, 1, kStart);
  probes_.on_relay_answer(node(2), 7, true);
  EXPECT_TRUE(probes_.asks(node(1)));
  probes_.note_relay(7, node(2));
  probes_.on_relay_answer(node(2), 7, true);
  EXPECT_FALSE(probes_.asks(node(1)));
}

TEST_F(MembershipProbesTest, CountsTheRelaysThatCouldNotReachItEither) {
  probes_.start(node(1), 7, 1, kStart);
  probes_.note_relay(7, node(2));
  probes_.note_relay(7, node(3));
  probes_.on_relay_answer(node(3), 7, false);
  probes_.poll_due(kStart + 1s);
  probes_.poll_due(kStart + 1s);
  auto failed = probes_.poll_due(kStart + 1s);
  EXPECT_EQ(failed->relays_asked, 2U);
  EXPECT_EQ(failed->relays_answered, 1U);
}

TEST_F(MembershipProbesTest, OneQuestionATargetAndNotTooManyAtAll) {
  EXPECT_TRUE(probes_.start(node(1), 1, 1, kStart));
  EXPECT_FALSE(probes_.start(node(1), 2, 1, kStart));
  std::uint32_t started = 1;
  for (std::uint8_t i = 2; i < 200; ++i) started += probes_.start(node(i), i, 1, kStart) ? 1U : 0U;
  EXPECT_EQ(started, options_.probes_max);
}

TEST_F(MembershipProbesTest, ARelayReportsOnce) {
  ASSERT_TRUE(relays_.start(5, {node(1), {"10.0.0.9", 1}, 99}, kStart));
  EXPECT_FALSE(relays_.on_ack(node(2), 5));
  EXPECT_EQ(relays_.on_ack(node(1), 5)->sequence, 99U);
  EXPECT_FALSE(relays_.poll_failed(kStart + 1h));
}

TEST_F(MembershipProbesTest, ARelaySaysNoInTime) {
  relays_.start(5, {node(1), {"10.0.0.9", 1}, 99}, kStart);
  EXPECT_FALSE(relays_.poll_failed(kStart + options_.relay_timeout - 1ms));
  EXPECT_EQ(relays_.poll_failed(kStart + options_.relay_timeout)->sequence, 99U);
}

TEST_F(MembershipProbesTest, RelayingIsBounded) {
  std::size_t started = 0;
  for (std::uint32_t i = 0; i < 1000; ++i) started += relays_.start(i, {node(1), {}, i}, kStart) ? 1U : 0U;
  EXPECT_EQ(started, options_.relayed_max);
}

}  // namespace
}  // namespace sluice::cluster
