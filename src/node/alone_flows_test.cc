#include "node/alone_flows.h"

#include <gmock/gmock.h>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

using testing::ElementsAre;

v1::Flow& add(v1::ListFlowsResponse& list, const std::string& id, bool alone, std::vector<std::uint32_t> stages) {
  v1::Flow& flow = *list.add_flows();
  flow.set_id(id);
  flow.set_alone(alone);
  for (std::uint32_t stage : stages) flow.add_stages()->set_index(stage);
  return flow;
}

std::vector<std::uint32_t> stages_of(const v1::Flow& flow) {
  std::vector<std::uint32_t> stages;
  for (const v1::FlowStage& stage : flow.stages()) stages.push_back(stage.index());
  return stages;
}

TEST(AloneFlows, PartsOfAFlowAreOneFlowInTheOrderOfItsStages) {
  v1::ListFlowsResponse list;
  add(list, "a", true, {2});
  add(list, "b", false, {0});
  add(list, "a", true, {0, 1});
  merge_alone(list);
  ASSERT_EQ(list.flows_size(), 2);
  EXPECT_EQ(list.flows(0).id(), "b");
  EXPECT_EQ(list.flows(1).id(), "a");
  EXPECT_THAT(stages_of(list.flows(1)), ElementsAre(0, 1, 2));
}

TEST(AloneFlows, WhatItsOrchestratorTellsCounts) {
  v1::ListFlowsResponse list;
  add(list, "a", true, {1});
  add(list, "a", false, {0, 1}).set_status(3);
  add(list, "a", true, {0});
  merge_alone(list);
  ASSERT_EQ(list.flows_size(), 1);
  EXPECT_EQ(list.flows(0).status(), 3);
  EXPECT_THAT(stages_of(list.flows(0)), ElementsAre(0, 1));
}

}  // namespace
}  // namespace sluice::node
