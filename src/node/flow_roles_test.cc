#include "node/flow_roles.h"

#include <gtest/gtest.h>

#include "sluice/v1/flows.pb.h"
#include "sluice/v1/roles.pb.h"

namespace sluice::node {
namespace {

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

TEST(FlowRoles, AStageThatStartsNoneWaitsForItsFirst) {
  FlowRoles roles(users(), FlowId());
  ASSERT_EQ(roles.awaiting().size(), 1u);
  EXPECT_EQ(roles.awaiting().front().role, "look-up");
  roles.on_offered(NodeId(), offer("1", "look-up"));
  EXPECT_EQ(roles.awaiting().size(), 1u) << "before it was asked";
  EXPECT_TRUE(roles.poll_join());
  EXPECT_TRUE(roles.awaiting().empty());
}

TEST(FlowRoles, StagesOfOneRoleShareItsWorkers) {
  v1::RunStart start = users();
  start.mutable_stages(2)->mutable_text()->set_role("look-up");
  FlowRoles roles(start, FlowId());
  for (const char* id : {"1", "2", "3"}) roles.on_offered(NodeId(), offer(id, "look-up"));
  EXPECT_EQ(roles.poll_join()->stage, 1u);
  EXPECT_EQ(roles.poll_join()->stage, 2u);
  EXPECT_EQ(roles.poll_join()->stage, 1u);
}

}  // namespace
}  // namespace sluice::node
