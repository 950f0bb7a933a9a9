#include "node/failure_message.h"

#include <gtest/gtest.h>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

flow::StageEnd exited(int status) { return {.status = exec::ProcessStatus::exited(status)}; }

void add(v1::Flow& flow, std::uint32_t index, const std::string& command, const std::string& node) {
  v1::FlowStage& stage = *flow.add_stages();
  stage.set_index(index);
  stage.set_command(command);
  stage.set_node(node);
}

// `seq 3 | @all look-up`
v1::Flow looked_up() {
  v1::Flow flow;
  flow.set_id("0123456789abcdef0123456789abcdef");
  add(flow, 0, "seq 3", "n1");
  add(flow, 1, "look-up", "n1");
  add(flow, 1, "look-up", "n2");
  return flow;
}

TEST(FailureMessage, SaysWhichStageFailedWhereAndHowAndWhereItsStderrIs) {
  EXPECT_EQ(failure_message(looked_up(), {exited(0), exited(3), exited(0)}),
            "stage 2 `look-up` on n1 exited with status 3 (sluice logs 01234567/2)");
  EXPECT_EQ(failure_message(looked_up(), {exited(1), exited(3), exited(4)}),
            "stage 1 `seq 3` on n1 exited with status 1 (sluice logs 01234567/1); stage 2 `look-up` on n1 exited with "
            "status 3, stage 2 `look-up` on n2 exited with status 4 (sluice logs 01234567/2)");
}

TEST(FailureMessage, NamesNoStageThatTheRuleExcuses) {
  v1::Flow flow = looked_up();
  flow.set_pipefail("last");
  EXPECT_EQ(failure_message(flow, {exited(1), exited(0), std::nullopt}), "");
}

TEST(FailureMessage, NamesAFewOfMany) {
  v1::Flow flow;
  for (std::uint32_t i = 0; i < 9; ++i) add(flow, i, "false", "n1");
  std::string message = failure_message(flow, std::vector<std::optional<flow::StageEnd>>(9, exited(1)));
  EXPECT_TRUE(message.ends_with("/5); and 4 more")) << message;
}

}  // namespace
}  // namespace sluice::node
