#include "node/flow_stages.h"

#include <gtest/gtest.h>

#include "node/layout_for_test.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

v1::Flow described(const FlowStages& stages) {
  v1::Flow flow;
  stages.describe(flow);
  return flow;
}

TEST(FlowStages, AStageIsThereOnceForEachHostThatRunsIt) {
  v1::RunStart start;
  start.set_pipefail("lenient");
  LaidOutFlow::add_stage(start, "uname").mutable_where()->set_kind(v1::Whereabouts::KIND_EVERY_NODE);
  LaidOutFlow flow(start, false);
  FlowStages stages(flow.start, flow.layout);
  stages.on_started(0, 0, 100);
  stages.on_started(1, 0, 200);
  stages.on_exited(1, 0, 3 << 8);
  EXPECT_EQ(stages.pid_of(1, 0), 200);
  EXPECT_EQ(stages.pid_of(1, 7), 0);
  v1::Flow shown = described(stages);
  ASSERT_EQ(shown.stages_size(), 2);
  EXPECT_EQ(shown.stages(0).command(), "uname");
  EXPECT_EQ(shown.stages(0).node(), "n1");
  EXPECT_EQ(shown.stages(0).pid(), 100);
  EXPECT_FALSE(shown.stages(0).ended());
  EXPECT_EQ(shown.stages(1).node_id(), flow.n2.text());
  EXPECT_EQ(shown.stages(1).part(), 1u);
  EXPECT_EQ(shown.stages(1).pid(), 200);
  EXPECT_TRUE(shown.stages(1).ended());
  EXPECT_EQ(shown.stages(1).wait_status(), 3 << 8);
  EXPECT_EQ(shown.stages(1).mark(), "n2: ");
}

// `cat | @x2 @map tr`: the records of the second are on n1, its processes on both.
TEST(FlowStages, WhatTheWorkersOfAStageWriteIsKeptWhereTheyAre) {
  v1::RunStart start;
  start.set_pipefail("lenient");
  v1::Whereabouts& where = *LaidOutFlow::add_stage(start, "cat").mutable_where();
  where.set_kind(v1::Whereabouts::KIND_NODE);
  where.set_node("n1");
  v1::StageText& workers = *LaidOutFlow::add_stage(start, "tr").mutable_text();
  workers.add_record_words("@x2");
  workers.add_record_words("@map");
  LaidOutFlow flow(start, false);
  FlowStages stages(flow.start, flow.layout);
  v1::Flow shown = described(stages);
  ASSERT_EQ(shown.stages_size(), 2);
  EXPECT_EQ(shown.stages(0).program(), 0u);
  EXPECT_FALSE(shown.stages(0).writes_output());
  EXPECT_EQ(shown.stages(0).seats_size(), 0);
  EXPECT_EQ(shown.stages(1).program(), 1u);
  EXPECT_EQ(shown.stages(1).node(), "n1");
  EXPECT_TRUE(shown.stages(1).writes_output());
  EXPECT_TRUE(shown.stages(1).through_daemon());
  ASSERT_EQ(shown.stages(1).seats_size(), 2);
  EXPECT_EQ(shown.stages(1).seats(0).node(), "n1");
  EXPECT_EQ(shown.stages(1).seats(1).node_id(), flow.n2.text());
  // One that joins later comes and goes; nothing of it is kept.
  flow.layout.add_seat(1, flow.n2);
  EXPECT_EQ(described(stages).stages(1).seats_size(), 2);
}

}  // namespace
}  // namespace sluice::node
