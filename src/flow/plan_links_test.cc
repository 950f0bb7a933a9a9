#include "flow/plan_links.h"

#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

enum : std::size_t { kTap, kLeft, kRight, kJoin, kLast };

// A tap, two branches of two workers each, a stage that joins them, and one behind it.
Plan joined(std::uint32_t concurrency) {
  Plan plan;
  plan.stages.resize(5);
  for (std::size_t stage : {kLeft, kRight, kJoin, kLast}) {
    plan.stages[stage].mode = RecordMode::worker;
    plan.stages[stage].workers = stage < kJoin ? 2 : 1;
  }
  plan.stages[kJoin].concurrency = concurrency;
  for (const Link& link :
       {Link{kTap, kLeft}, Link{kTap, kRight}, Link{kLeft, kJoin}, Link{kRight, kJoin}, Link{kJoin, kLast}})
    plan.links.push_back({.link = link});
  return plan;
}

TEST(PlanLinks, OnlyAStageOfWorkersWithSeveralLinksTakesThemApart) {
  Plan plan = joined(1000);
  EXPECT_TRUE(takes_links_apart(plan, kJoin));
  EXPECT_FALSE(takes_links_apart(plan, kLast));
  EXPECT_TRUE(takes_links_apart(plan));
  plan.stages[kJoin].mode = RecordMode::none;
  EXPECT_FALSE(takes_links_apart(plan));
}

TEST(PlanLinks, WorkersOfABranchHaveLittleAheadOfOneThatJoins) {
  Plan plan = joined(1000);
  EXPECT_EQ(records_ahead_max(plan, kLeft), 125u) << "the two of them half of the 500 of their link";
  EXPECT_EQ(records_ahead_max(plan, kJoin), std::nullopt);
  EXPECT_EQ(records_ahead_max(plan, kLast), std::nullopt);
  plan.stages[kLeft].ordered = true;
  EXPECT_EQ(records_ahead_max(plan, kLeft), std::nullopt) << "its order is kept anyway";
  EXPECT_EQ(records_ahead_max(joined(0), kLeft), std::nullopt) << "the file does not say what it holds";
  EXPECT_EQ(records_ahead_max(joined(2), kLeft), 1u);
}

}  // namespace
}  // namespace sluice::flow
