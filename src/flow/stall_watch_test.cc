#include "flow/stall_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;
using Waits = StallParty::Waits;

// parser copies to facebook and twitter, which merger joins.
enum : std::size_t { kCopy, kFacebook, kTwitter, kMerger };

std::vector<StallParty> stalled() {
  return {
      {.waits = Waits::all,
       .others = {{kFacebook, "parser waits for room in the link to facebook (256 KiB)"}},
       .advice = "put 'slow: { spill: 100M }' on the link parser -> facebook"},
      {.waits = Waits::one, .others = {{kMerger, "facebook waits for merger"}}},
      {.waits = Waits::one, .others = {{kCopy, "twitter waits for parser"}}},
      {.waits = Waits::one,
       .others = {{kTwitter, "merger holds 500 records of facebook and waits for twitter"}},
       .joins = true,
       .advice = "raise the concurrency of merger"},
  };
}

class StallWatchTest : public testing::Test {
 protected:
  // Looks for a minute at what does not change. When a stall was told of.
  std::optional<std::string> look_for_a_minute(const std::vector<StallParty>& parties) {
    for (int second = 0; second < 60; ++second, now_ += 1s)
      if (auto found = watch_.on_look(parties, now_)) return (found->stalled ? "" : "suspicion: ") + found->sentence;
    return std::nullopt;
  }

  StallWatch watch_{10s};
  TimePoint now_ = TimePoint(1h);
};

TEST_F(StallWatchTest, TellsTheCycleFromTheCopyOn) {
  EXPECT_EQ(
      look_for_a_minute(stalled()),
      "every stage waits for another since 10.0 s: parser waits for room in the link to facebook (256 KiB), facebook "
      "waits for merger, merger holds 500 records of facebook and waits for twitter, twitter waits for parser; "
      "raise the concurrency of merger, or put 'slow: { spill: 100M }' on the link parser -> facebook");
  EXPECT_EQ(now_, TimePoint(1h) + 10s) << "not before, and not later";
}

TEST_F(StallWatchTest, WhoeverMovesBeginsAnew) {
  std::vector<StallParty> parties = stalled();
  for (int second = 0; second < 1000; ++second, now_ += 1s) {
    if (second % 9 == 0) ++parties[static_cast<std::size_t>(second) % parties.size()].moved;
    ASSERT_FALSE(watch_.on_look(parties, now_)) << second;
  }
}

TEST_F(StallWatchTest, ASuspicionIsToldOnceForEachTimeThatNothingMoves) {
  std::vector<StallParty> parties = stalled();
  parties[kTwitter] = {};
  parties[kMerger] = {.advice = "raise the concurrency of merger",
                      .suspicion = "merger holds 5 records of a and 5 of b"};
  const std::string told =
      "suspicion: nothing has moved for 10.0 s: merger holds 5 records of a and 5 of b, as many as it may; if it waits "
      "for "
      "their counterparts, raise the concurrency of merger";
  for (int times = 0; times < 3; ++times) {
    EXPECT_EQ(look_for_a_minute(parties), told);
    EXPECT_EQ(look_for_a_minute(parties), std::nullopt);
    ++parties[kMerger].moved;
  }
}

TEST_F(StallWatchTest, TimeInWhichNobodyLookedDoesNotCount) {
  for (int times = 0; times < 100; ++times, now_ += 6s) ASSERT_FALSE(watch_.on_look(stalled(), now_));
  EXPECT_TRUE(look_for_a_minute(stalled()));
}

TEST_F(StallWatchTest, WhoWorksOnARecordForAMinuteIsNoPartOfACycle) {
  for (std::size_t working = 0; working < 4; ++working) {
    std::vector<StallParty> parties = stalled();
    parties[working].waits = Waits::nothing;
    EXPECT_FALSE(look_for_a_minute(parties)) << working;
  }
}

TEST_F(StallWatchTest, OneThatMayHearFromTwoIsNotStuckWhileOneOfThemWorks) {
  std::vector<StallParty> parties = stalled();
  parties[kMerger].others.push_back({4, "merger waits for a third"});
  parties.push_back({});  // that asks the network
  EXPECT_FALSE(look_for_a_minute(parties));
}

TEST_F(StallWatchTest, OneThatNeedsRoomForTwoIsStuckIfOneOfThemIs) {
  std::vector<StallParty> parties = stalled();
  parties[kCopy].others.insert(parties[kCopy].others.begin(), {4, "parser waits for room in the link to log"});
  parties.push_back({});  // it is slow
  EXPECT_THAT(look_for_a_minute(parties), testing::Optional(testing::HasSubstr("in the link to facebook")));
}

TEST_F(StallWatchTest, OneThatWaitsForItselfIsACycle) {
  std::vector<StallParty> parties(4);
  parties[kMerger] = {
      .waits = Waits::one,
      .others = {{kMerger, "merger holds 500 records of facebook, and nothing more comes from twitter"}},
      .joins = true,
      .advice = "raise the concurrency of merger"};
  EXPECT_EQ(look_for_a_minute(parties),
            "every stage waits for another since 10.0 s: merger holds 500 records of facebook, and nothing more comes "
            "from twitter; raise the concurrency of merger");
}

TEST_F(StallWatchTest, AnIdleFlowHasNoCycle) {
  std::vector<StallParty> parties(4);
  parties[kFacebook] = {.waits = Waits::one, .others = {{kCopy, "facebook waits for parser"}}};
  parties[kTwitter] = {.waits = Waits::one, .others = {{kCopy, "twitter waits for parser"}}};
  EXPECT_FALSE(look_for_a_minute(parties));
}

TEST_F(StallWatchTest, ACycleWithoutAJointIsNobodysBusiness) {
  std::vector<StallParty> parties = stalled();
  parties[kMerger].joins = false;
  EXPECT_FALSE(look_for_a_minute(parties));
}

}  // namespace
}  // namespace sluice::flow
