#include "flow/flow_summary.h"

#include <gmock/gmock.h>

#include <csignal>
#include <nlohmann/json.hpp>

namespace sluice::flow {
namespace {

using exec::ProcessStatus;
using namespace std::chrono_literals;
using testing::ElementsAre;

FlowSummary summary() {
  FlowSummary flow{.status = 137, .duration = 1500ms};
  flow.stages.push_back({.command = "yes", .host = "h", .pid = 7, .end = StageEnd{ProcessStatus::ended_by(SIGKILL)}});
  flow.stages.push_back({.command = "wc -l",
                         .host = "h",
                         .pid = 8,
                         .end = StageEnd{ProcessStatus::exited(0)},
                         .io_known = true,
                         .io_read_bytes = 10,
                         .cpu_us = 1500,
                         .duration = 2ms});
  return flow;
}

TEST(FlowSummary, IsOneJsonObject) {
  auto json = nlohmann::json::parse(to_json(summary()));
  EXPECT_EQ(json["flow"], nullptr);
  EXPECT_EQ(json["status"], 137);
  EXPECT_EQ(json["end"], "completed");
  EXPECT_EQ(json["duration_ms"], 1500.0);
  EXPECT_EQ(json["stages"][0]["signal"], "SIGKILL");
  EXPECT_EQ(json["stages"][0]["io_read_bytes"], nullptr) << "what is not known is null, not zero";
  EXPECT_EQ(json["stages"][1]["io_read_bytes"], 10);
  EXPECT_EQ(json["stages"][1]["cpu_ms"], 1.5);
}

TEST(FlowSummary, CommandsOfAnyBytesAreValidJson) {
  FlowSummary flow = summary();
  flow.stages[0].command = "echo \xff\n\"";
  EXPECT_TRUE(nlohmann::json::accept(to_json(flow)));
}

TEST(FlowSummary, NamesTheStagesThatMadeItFail) {
  FlowSummary flow = summary();
  EXPECT_THAT(failure_sentences(flow), ElementsAre("stage 1 `yes` was ended by signal 9 (SIGKILL)"));
  flow.rule = PipefailRule::last;
  EXPECT_THAT(failure_sentences(flow), ElementsAre());
  flow.stages[1].end = StageEnd{ProcessStatus::exited(3)};
  EXPECT_THAT(failure_sentences(flow), ElementsAre("stage 2 `wc -l` exited with status 3"));
}

TEST(FlowSummary, NamesTheHostOfAStageElsewhere) {
  FlowSummary flow = summary();
  flow.stages[0].elsewhere = true;
  EXPECT_THAT(failure_sentences(flow), ElementsAre("stage 1 `yes` on h was ended by signal 9 (SIGKILL)"));
}

TEST(FlowSummary, NamesTheWorkersThatFailed) {
  FlowSummary flow = summary();
  flow.stages[0].workers = {{.number = 1, .host = "h", .pid = 1, .end = StageEnd{ProcessStatus::exited(4)}},
                            {.number = 2, .host = "h", .pid = 2, .end = StageEnd{ProcessStatus::exited(0)}},
                            {.number = 3, .host = "h", .pid = 3, .end = StageEnd{ProcessStatus::exited(4)}}};
  flow.stages[0].workers[1].records_given = 7;
  EXPECT_THAT(failure_sentences(flow), ElementsAre("stage 1 `yes` (workers 1, 3) exited with status 4"));
  auto workers = nlohmann::json::parse(to_json(flow))["stages"][0]["workers"];
  EXPECT_EQ(workers[1]["worker"], 2);
  EXPECT_EQ(workers[1]["records_given"], 7);
  EXPECT_FALSE(workers[0].contains("records_given"));
}

TEST(FlowSummary, NamesTheNodesWhereAWorkerFailed) {
  FlowSummary flow = summary();
  flow.stages[0].workers = {{.host = "n1", .pid = 1, .end = StageEnd{ProcessStatus::exited(4)}},
                            {.host = "n2", .pid = 2, .end = StageEnd{ProcessStatus::exited(0)}},
                            {.host = "n3", .pid = 3, .end = StageEnd{ProcessStatus::ended_by(SIGKILL)}},
                            {.host = "n4", .pid = 4, .end = StageEnd{ProcessStatus::exited(4)}},
                            {.host = "n5"}};
  EXPECT_THAT(failure_sentences(flow), ElementsAre("stage 1 `yes` on n1, n4 exited with status 4",
                                                   "stage 1 `yes` on n3 was ended by signal 9 (SIGKILL)"));
  auto workers = nlohmann::json::parse(to_json(flow))["stages"][0]["workers"];
  ASSERT_EQ(workers.size(), 5u);
  EXPECT_EQ(workers[0], (nlohmann::json{{"host", "n1"}, {"pid", 1}, {"status", 4}, {"signal", nullptr}}));
  EXPECT_EQ(workers[2]["signal"], "SIGKILL");
  EXPECT_EQ(workers[4]["status"], nullptr);
}

}  // namespace
}  // namespace sluice::flow
