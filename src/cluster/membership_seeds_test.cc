#include "cluster/membership_seeds.h"

#include <gmock/gmock.h>

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

const TimePoint kStart{1h};
const net::Endpoint kOne{"10.0.0.1", 7117};
const net::Endpoint kTwo{"10.0.0.2", 7117};

bool nobody(const net::Endpoint&, const std::optional<NodeId>&) { return false; }

class MembershipSeedsTest : public testing::Test {
 protected:
  MembershipOptions options_;
  MembershipSeeds seeds_{options_};
};

TEST_F(MembershipSeedsTest, AloneAllAreAskedAgainAndAgain) {
  seeds_.add(kOne, kStart);
  seeds_.add(kTwo, kStart);
  TimePoint now = kStart;
  Duration last{};
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(seeds_.poll_due(true, nobody, now), ElementsAre(kOne, kTwo));
    last = *seeds_.deadline() - now;
    now += last;
  }
  EXPECT_EQ(last, options_.seed_interval_max);
  seeds_.hurry(now);
  EXPECT_EQ(seeds_.deadline(), now);
}

TEST_F(MembershipSeedsTest, InCompanyOnlyThoseWhereNoMemberIs) {
  seeds_.add(kOne, kStart);
  seeds_.add(kTwo, kStart);
  auto covered = [](const net::Endpoint& endpoint, const std::optional<NodeId>&) { return endpoint == kOne; };
  EXPECT_THAT(seeds_.poll_due(false, covered, kStart), ElementsAre(kTwo));
  EXPECT_EQ(seeds_.deadline(), kStart + options_.seed_interval_joined);
}

TEST_F(MembershipSeedsTest, RemembersWhoAnswered) {
  seeds_.add(kOne, kStart);
  NodeId id = NodeId::random();
  seeds_.on_answer(kOne, id);
  std::optional<NodeId> seen;
  auto look = [&](const net::Endpoint&, const std::optional<NodeId>& answered) {
    seen = answered;
    return true;
  };
  EXPECT_THAT(seeds_.poll_due(false, look, kStart), IsEmpty());
  EXPECT_EQ(seen, id);
}

TEST_F(MembershipSeedsTest, AreBounded) {
  for (std::uint16_t port = 1; port <= options_.seeds_max; ++port) EXPECT_TRUE(seeds_.add({"10.0.0.1", port}, kStart));
  EXPECT_FALSE(seeds_.add({"10.0.0.2", 1}, kStart));
  EXPECT_TRUE(seeds_.add({"10.0.0.1", 1}, kStart));  // is there already
}

TEST_F(MembershipSeedsTest, ThoseThatWereFoundAreForgottenUnlessTheyAreFoundAgain) {
  seeds_.add(kOne, kStart);
  seeds_.add_found(kTwo, kStart);
  TimePoint last_found = kStart + options_.seed_memory / 2;
  EXPECT_THAT(seeds_.poll_due(true, nobody, kStart), ElementsAre(kOne, kTwo));
  seeds_.add_found(kTwo, last_found);
  EXPECT_EQ(seeds_.deadline(), last_found);
  EXPECT_THAT(seeds_.poll_due(true, nobody, kStart + options_.seed_memory), ElementsAre(kOne, kTwo));
  EXPECT_THAT(seeds_.poll_due(true, nobody, last_found + options_.seed_memory), ElementsAre(kOne));
}

TEST_F(MembershipSeedsTest, OneThatTheUserNamedStaysHoweverItWasFound) {
  seeds_.add_found(kOne, kStart);
  seeds_.add(kOne, kStart);
  seeds_.add(kTwo, kStart);
  seeds_.add_found(kTwo, kStart);
  EXPECT_THAT(seeds_.poll_due(true, nobody, kStart + 2 * options_.seed_memory), ElementsAre(kOne, kTwo));
}

TEST_F(MembershipSeedsTest, BeyondTheLimitTheOldestThatWasFoundGoes) {
  options_.seeds_max = 2;
  seeds_.add(kOne, kStart);
  EXPECT_TRUE(seeds_.add_found(kTwo, kStart));
  const net::Endpoint three{"10.0.0.3", 7117}, four{"10.0.0.4", 7117};
  EXPECT_TRUE(seeds_.add_found(three, kStart));
  EXPECT_THAT(seeds_.poll_due(true, nobody, kStart), ElementsAre(kOne, three));
  EXPECT_TRUE(seeds_.add(four, kStart));
  EXPECT_FALSE(seeds_.add_found(kTwo, kStart));
  EXPECT_THAT(seeds_.poll_due(true, nobody, kStart), ElementsAre(kOne, four));
}

TEST_F(MembershipSeedsTest, WithoutAnyThereIsNoTimer) { EXPECT_FALSE(seeds_.deadline()); }

}  // namespace
}  // namespace sluice::cluster
