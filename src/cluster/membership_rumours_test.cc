#include "cluster/membership_rumours.h"

#include <gmock/gmock.h>

#include "cluster/node_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;
using testing::SizeIs;

const TimePoint kStart{1h};

class MembershipRumoursTest : public testing::Test {
 protected:
  void add(std::uint64_t number, TimePoint now, std::uint64_t incarnation = 1) {
    Accusation accusation{.subject = node(number), .revision = {incarnation, 0}, .accuser = node(0)};
    rumours_.add(node(number), encode_update(accusation), 30, now);
  }
  std::vector<Accusation> pushed(TimePoint now) {
    std::vector<Accusation> found;
    for (const std::string& payload : rumours_.poll_push(now)) {
      auto message = decode_gossip(payload);
      for (const Update& update : message->updates) found.push_back(std::get<Accusation>(update));
    }
    return found;
  }
  std::size_t ride(TimePoint now) {
    GossipWriter writer(Ping{});
    rumours_.ride_along(writer, now);
    std::string payload = writer.take();
    return decode_gossip(payload)->updates.size();
  }

  MembershipOptions options_;
  MembershipRumours rumours_{options_};
};

TEST_F(MembershipRumoursTest, ARumourIsPushedAtOnceAndInTwoMoreRounds) {
  add(1, kStart);
  EXPECT_EQ(rumours_.push_deadline(), kStart);
  EXPECT_THAT(pushed(kStart), SizeIs(1));
  EXPECT_EQ(rumours_.push_deadline(), kStart + options_.push_round_gap);
  EXPECT_THAT(pushed(kStart + options_.push_round_gap), SizeIs(1));
  EXPECT_THAT(pushed(kStart + 2 * options_.push_round_gap), SizeIs(1));
  EXPECT_FALSE(rumours_.push_deadline());
  EXPECT_THAT(pushed(kStart + 1s), IsEmpty());
}

TEST_F(MembershipRumoursTest, ThenItRidesAlongForAWhile) {
  add(1, kStart);
  EXPECT_EQ(ride(kStart), 0U);
  for (int round = 0; round < 3; ++round) pushed(kStart + 10ms * round);
  std::size_t rides = 0;
  while (ride(kStart + 100ms) > 0) ++rides;
  EXPECT_EQ(rides, 5U);  // 30 nodes: 2^5
  EXPECT_EQ(rumours_.size(), 0U);
}

TEST_F(MembershipRumoursTest, ARideEndsAfterItsTime) {
  add(1, kStart);
  for (int round = 0; round < 3; ++round) pushed(kStart + 10ms * round);
  EXPECT_EQ(ride(kStart + 3s), 0U);
  EXPECT_EQ(rumours_.size(), 0U);
}

TEST_F(MembershipRumoursTest, TheLaterRumourOfAMemberTakesThePlaceOfTheOlder) {
  add(1, kStart, 1);
  add(1, kStart, 2);
  std::vector<Accusation> found = pushed(kStart);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].revision.incarnation, 2U);
}

TEST_F(MembershipRumoursTest, InAStormRumoursShareDatagramsAndPushesArePaced) {
  add(1, kStart);
  EXPECT_THAT(pushed(kStart), SizeIs(1));
  for (std::uint64_t i = 2; i < 12; ++i) add(i, kStart + 1ms);
  EXPECT_EQ(rumours_.push_deadline(), kStart + options_.push_gap);
  EXPECT_THAT(rumours_.poll_push(kStart + 1ms), IsEmpty());
  EXPECT_THAT(rumours_.poll_push(kStart + options_.push_gap), SizeIs(1));
}

TEST_F(MembershipRumoursTest, OnePushIsBoundedAndTheRestFollows) {
  constexpr std::size_t kRumours = 500;
  for (std::uint64_t i = 0; i < kRumours; ++i) add(i, kStart);
  std::size_t told = 0;
  TimePoint now = kStart;
  while (rumours_.push_deadline() && now < kStart + options_.push_round_gap) {
    std::vector<std::string> payloads = rumours_.poll_push(now);
    EXPECT_LE(payloads.size(), options_.push_datagrams_max);
    for (const std::string& payload : payloads) told += decode_gossip(payload)->updates.size();
    now = *rumours_.push_deadline();
  }
  EXPECT_GE(told, 4 * 4 * 20U);
  while (rumours_.push_deadline()) pushed(*rumours_.push_deadline());
  EXPECT_EQ(rumours_.size(), kRumours);  // they ride
}

TEST_F(MembershipRumoursTest, ThereAreNeverMoreThanTheLimit) {
  for (std::uint64_t i = 0; i < options_.rumours_max + 100; ++i) add(i, kStart);
  EXPECT_EQ(rumours_.size(), options_.rumours_max);
}

}  // namespace
}  // namespace sluice::cluster
