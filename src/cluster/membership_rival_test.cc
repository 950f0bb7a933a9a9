#include "cluster/membership_rival.h"

#include <gmock/gmock.h>

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;

const TimePoint kStart{1h};
const net::Endpoint kThere{"10.0.0.9", 7117};

class MembershipRivalTest : public testing::Test {
 protected:
  int challenges(TimePoint until) {
    int count = 0;
    while (rival_.deadline() && *rival_.deadline() <= until) {
      TimePoint now = *rival_.deadline();
      if (rival_.poll_challenge(now))
        ++count;
      else if (rival_.poll_settled(now))
        break;
    }
    return count;
  }
  MembershipRival rival_{5};
};

TEST_F(MembershipRivalTest, AnUnansweredSightingWasOurLastLife) {
  EXPECT_TRUE(rival_.on_sighting(4, kThere, kStart));
  EXPECT_FALSE(rival_.on_sighting(4, kThere, kStart));
  EXPECT_EQ(challenges(kStart + 1min), 6);
  EXPECT_FALSE(rival_.poll_proof());
  EXPECT_FALSE(rival_.deadline());
}

TEST_F(MembershipRivalTest, TwoAnswersApartAreProof) {
  rival_.on_sighting(4, kThere, kStart);
  rival_.on_datagram(4, kThere, kStart + 1ms);
  rival_.on_datagram(4, kThere, kStart + 100ms);
  EXPECT_FALSE(rival_.poll_proof());
  rival_.on_datagram(4, kThere, kStart + 600ms);
  auto proof = rival_.poll_proof();
  ASSERT_TRUE(proof);
  EXPECT_EQ(proof->endpoint, kThere);
  EXPECT_FALSE(proof->we_yield);  // it is the older
  EXPECT_FALSE(rival_.poll_proof());
  EXPECT_TRUE(rival_.poll_settled(kStart + 600ms));
  EXPECT_FALSE(rival_.poll_settled(kStart + 600ms));
}

TEST_F(MembershipRivalTest, TheOlderYields) {
  rival_.on_datagram(6, kThere, kStart);
  rival_.on_datagram(6, kThere, kStart + 1s);
  EXPECT_TRUE(rival_.poll_proof()->we_yield);
}

TEST_F(MembershipRivalTest, OurOwnDatagramsProveNothing) {
  rival_.on_datagram(5, kThere, kStart);
  rival_.on_datagram(5, kThere, kStart + 1s);
  EXPECT_FALSE(rival_.poll_proof());
  EXPECT_FALSE(rival_.deadline());
}

}  // namespace
}  // namespace sluice::cluster
