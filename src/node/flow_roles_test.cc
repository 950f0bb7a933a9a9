#include "node/flow_roles.h"

#include <gtest/gtest.h>

#include "sluice/v1/flows.pb.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{1h};

v1::RoleOffer offer(const std::string& id, const std::string& role, const std::string& flow = "") {
  v1::RoleOffer offer;
  offer.set_id(id);
  offer.set_role(role);
  offer.set_flow(flow);
  return offer;
}

// `cat -> look-up -> resize`: the second has only workers that are started by hand.
v1::RunStart users() {
  v1::RunStart start;
  start.set_name("users");
  start.add_stages()->mutable_text()->add_plain_words("cat");
  start.add_stages()->mutable_text()->set_role("look-up");
  v1::StageText& resize = *start.add_stages()->mutable_text();
  resize.set_role("resize");
  resize.add_plain_words("./resize");
  return start;
}

TEST(FlowRoles, AWorkerOfAnotherRoleOrForAnotherFlowIsNotAsked) {
  FlowRoles roles(users(), FlowId());
  roles.on_offered(NodeId(), offer("1", "parse"));
  roles.on_offered(NodeId(), offer("2", "look-up", "others"));
  EXPECT_FALSE(roles.poll_join());
  roles.on_offered(NodeId(), offer("3", "look-up", "users"));
  auto join = roles.poll_join();
  ASSERT_TRUE(join);
  EXPECT_EQ(join->stage, 1u);
  EXPECT_EQ(join->offer_id, "3");
}

TEST(FlowRoles, AWorkerIsAskedOnceHoweverOftenItIsOffered) {
  FlowRoles roles(users(), FlowId());
  roles.on_offered(NodeId(), offer("1", "look-up"));
  EXPECT_TRUE(roles.poll_join());
  roles.on_offered(NodeId(), offer("1", "look-up"));
  EXPECT_FALSE(roles.poll_join());
}

// How many stages are told to wait at `now`.
std::size_t told(FlowRoles& roles, TimePoint now) {
  std::size_t count = 0;
  while (roles.poll_awaiting(now)) ++count;
  return count;
}

TEST(FlowRoles, AStageThatStartsNoneWaitsForItsFirst) {
  FlowRoles roles(users(), FlowId());
  EXPECT_FALSE(roles.poll_deadline());
  roles.on_running(kStart);
  EXPECT_EQ(roles.poll_deadline(), kStart + 1s);
  EXPECT_FALSE(roles.poll_awaiting(kStart));
  auto awaiting = roles.poll_awaiting(kStart + 1s);
  ASSERT_TRUE(awaiting);
  EXPECT_EQ(awaiting->stage, 1u);
  EXPECT_EQ(awaiting->role, "look-up");
  EXPECT_EQ(told(roles, kStart + 1min), 0u) << "it is told once";
}

TEST(FlowRoles, AStageThatIsJoinedInTimeIsNotToldToWait) {
  FlowRoles roles(users(), FlowId());
  roles.on_running(kStart);
  roles.on_offered(NodeId(), offer("1", "look-up"));
  EXPECT_TRUE(roles.poll_join());
  EXPECT_EQ(told(roles, kStart + 1s), 0u);
}

TEST(FlowRoles, AStageThatBecomesEmptyWaitsAgainAndIsToldOnceEachTime) {
  FlowRoles roles(users(), FlowId());
  roles.on_running(kStart);
  for (const char* id : {"1", "2"}) {
    roles.on_offered(NodeId(), offer(id, "look-up"));
    EXPECT_TRUE(roles.poll_join());
  }
  roles.on_gone(1, kStart + 1min);
  EXPECT_FALSE(roles.poll_deadline()) << "one is left";
  roles.on_gone(1, kStart + 2min);
  EXPECT_EQ(told(roles, kStart + 2min), 0u) << "another may come at once";
  EXPECT_EQ(told(roles, kStart + 2min + 1s), 1u);
  EXPECT_EQ(told(roles, kStart + 3min), 0u);
  roles.on_offered(NodeId(), offer("3", "look-up"));
  EXPECT_TRUE(roles.poll_join());
  roles.on_gone(1, kStart + 4min);
  EXPECT_EQ(told(roles, kStart + 5min), 1u);
}

TEST(FlowRoles, AStageThatNeedsNoWorkerDoesNotWaitForOne) {
  FlowRoles roles(users(), FlowId());
  for (std::size_t stage : {1, 1, 2}) roles.on_known(stage);
  roles.on_running(kStart);
  roles.on_gone(2, kStart);  // it has one of its own
  roles.on_gone(1, std::nullopt);
  roles.on_gone(1, std::nullopt);
  EXPECT_FALSE(roles.poll_deadline());
  roles.on_known(1);
  roles.on_ended(1);
  roles.on_gone(1, kStart);
  EXPECT_FALSE(roles.poll_deadline());
  roles.on_offered(NodeId(), offer("1", "look-up"));
  EXPECT_FALSE(roles.poll_join());
}

TEST(FlowRoles, StagesOfOneRoleShareItsWorkers) {
  v1::RunStart start = users();
  start.mutable_stages(2)->mutable_text()->set_role("look-up");
  FlowRoles roles(start, FlowId());
  for (const char* id : {"1", "2", "3"}) roles.on_offered(NodeId(), offer(id, "look-up"));
  EXPECT_EQ(roles.poll_join()->stage, 1u);
  EXPECT_EQ(roles.poll_join()->stage, 2u);
  EXPECT_EQ(roles.poll_join()->stage, 1u);
  roles.on_gone(2, kStart);
  roles.on_offered(NodeId(), offer("4", "look-up"));
  EXPECT_EQ(roles.poll_join()->stage, 2u) << "it has the fewest now";
}

}  // namespace
}  // namespace sluice::node
