#include "cluster/membership_suspicions.h"

#include <gmock/gmock.h>

#include "cluster/node_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{1h};

class MembershipSuspicionsTest : public testing::Test {
 protected:
  Duration patience() { return *suspicions_.deadline() - kStart; }
  MembershipOptions options_;
  MembershipSuspicions suspicions_{options_};
};

TEST_F(MembershipSuspicionsTest, WithoutConfirmationTheSuspectHasTheLongestTime) {
  suspicions_.start({node(1), {}, node(2), 30}, kStart);
  EXPECT_EQ(patience(), options_.suspicion_max);
  EXPECT_FALSE(suspicions_.poll_expired(kStart + options_.suspicion_max - 1ms));
  EXPECT_EQ(suspicions_.poll_expired(kStart + options_.suspicion_max), node(1));
}

TEST_F(MembershipSuspicionsTest, EachConfirmationShortensItDownToTheShortest) {
  suspicions_.start({node(1), {}, node(2), 30}, kStart);
  Duration last = patience();
  for (std::uint8_t accuser = 3; accuser < 6; ++accuser) {
    EXPECT_TRUE(suspicions_.confirm(node(1), node(accuser)));
    EXPECT_LT(patience(), last);
    last = patience();
  }
  EXPECT_EQ(last, options_.suspicion_min);
  EXPECT_FALSE(suspicions_.confirm(node(1), node(9)));  // enough
  EXPECT_EQ(patience(), last);
}

TEST_F(MembershipSuspicionsTest, TheSameAccuserConfirmsNothing) {
  suspicions_.start({node(1), {}, node(2), 30}, kStart);
  EXPECT_FALSE(suspicions_.confirm(node(1), node(2)));
  EXPECT_TRUE(suspicions_.confirm(node(1), node(3)));
  EXPECT_FALSE(suspicions_.confirm(node(1), node(3)));
}

TEST_F(MembershipSuspicionsTest, OfTwoNodesNoOtherCanConfirm) {
  suspicions_.start({node(1), {}, node(2), 2}, kStart);
  EXPECT_EQ(patience(), options_.suspicion_min);
}

TEST_F(MembershipSuspicionsTest, WhoeverWasNotRunningGivesTheTimeBack) {
  suspicions_.start({node(1), {}, node(2), 2}, kStart);
  suspicions_.put_off_all(10s);
  EXPECT_EQ(patience(), options_.suspicion_min + 10s);
}

TEST_F(MembershipSuspicionsTest, TheFirstThatEndsIsTheDeadline) {
  suspicions_.start({node(1), {}, node(2), 30}, kStart);
  suspicions_.start({node(3), {}, node(2), 2}, kStart);
  EXPECT_EQ(patience(), options_.suspicion_min);
  suspicions_.erase(node(3));
  EXPECT_EQ(patience(), options_.suspicion_max);
  suspicions_.erase(node(1));
  EXPECT_FALSE(suspicions_.deadline());
}

TEST_F(MembershipSuspicionsTest, TheAccusationNamesTheLastAccuser) {
  suspicions_.start({node(1), {5, 6}, node(2), 30}, kStart);
  suspicions_.confirm(node(1), node(3));
  EXPECT_EQ(suspicions_.accusation(node(1)),
            (Accusation{.state = MemberState::suspect, .subject = node(1), .revision = {5, 6}, .accuser = node(3)}));
  EXPECT_FALSE(suspicions_.accusation(node(9)));
}

}  // namespace
}  // namespace sluice::cluster
