#include "flow/plan.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "flow/pipeline_text.h"

namespace sluice::flow {
namespace {

using exec::Stream;
using testing::ElementsAre;
using testing::HasSubstr;

const exec::Environment kEnvironment({"PATH=/usr/bin:/bin"});

Plan plan_of(std::string_view text, bool exact = false) {
  PlanContext context{.shell = {ShellKind::bash, "/bin/bash"}, .environment = kEnvironment, .exact = exact};
  return make_plan(*read_pipeline_text(text, {}), context);
}

TEST(Plan, ExecutesPlainWordsAndGivesTheRestToTheShell) {
  Plan plan = plan_of("cat a 'b c' | echo x | tr $x y");
  EXPECT_THAT(plan.stages[0].program.arguments, ElementsAre("cat", "a", "b c"));
  EXPECT_EQ(plan.stages[0].how, "exec /usr/bin/cat");
  EXPECT_THAT(plan.stages[1].program.arguments, ElementsAre("bash", "-o", "pipefail", "-c", "echo x"));
  EXPECT_EQ(plan.stages[1].how, "bash: 'echo' is its own");
}

TEST(Plan, ConnectsNeighboursByKernelPipes) {
  Plan plan = plan_of("cat | cat |& cat");
  EXPECT_EQ(plan.stages[0].program.input, Stream::inherited);
  EXPECT_EQ(plan.stages[0].program.output, Stream::neighbour);
  EXPECT_EQ(plan.stages[1].program.input, Stream::neighbour);
  EXPECT_EQ(plan.stages[1].program.error, Stream::as_stdout);
  EXPECT_EQ(plan.stages[2].program.output, Stream::inherited);
  EXPECT_EQ(plan.stages[2].program.error, Stream::inherited);
}

TEST(Plan, CountsByRelaysThatAreGuarded) {
  Plan plan = plan_of("cat | cat", true);
  EXPECT_EQ(plan.links[0].carrier, LinkCarrier::relay);
  EXPECT_EQ(plan.stages[0].program.output, Stream::passed);
  EXPECT_TRUE(plan.stages[1].program.guarded_input);
  EXPECT_FALSE(plan.stages[0].program.guarded_input);
}

TEST(Plan, LeadsRecordsThroughUs) {
  Plan plan = plan_of("cat | @x3 @null sort | cat");
  EXPECT_EQ(plan.stages[1].workers, 3u);
  EXPECT_EQ(plan.stages[1].framing, RecordFraming::null);
  EXPECT_EQ(plan.stages[1].how, "3 workers: exec /usr/bin/sort");
  EXPECT_EQ(plan.links[0].carrier, LinkCarrier::records);
  EXPECT_EQ(plan.links[1].carrier, LinkCarrier::records);
  EXPECT_EQ(plan.stages[0].program.output, Stream::passed);
  EXPECT_TRUE(plan.stages[1].program.guarded_input);
  EXPECT_TRUE(plan.stages[2].program.guarded_input);
  EXPECT_THAT(describe_plan(plan), HasSubstr("stdin -> 1 =records=> 2 =records=> 3 -> stdout\n"));
  Plan ends = plan_of("@x2 cat");
  EXPECT_EQ(ends.stages[0].program.input, Stream::passed);
  EXPECT_EQ(ends.stages[0].program.output, Stream::passed);
}

TEST(Plan, FindsEveryProblemAndGoesOn) {
  Plan plan = plan_of("nosuchcommand | @sandbox cat | /etc/passwd | cat");
  ASSERT_EQ(plan.problems.size(), 3u);
  EXPECT_EQ(plan.problems[0].status, 127);
  EXPECT_EQ(plan.problems[1].status, 125);
  EXPECT_THAT(plan.problems[1].message, HasSubstr("'@sandbox' needs sandboxes"));
  EXPECT_EQ(plan.problems[2].status, 126);
  EXPECT_EQ(plan.stages[3].how, "exec /usr/bin/cat");
}

TEST(Plan, ARemoteStagesCommandIsNotLookedUpHere) {
  Plan plan = plan_of("@on=db1 nosuchcommand");
  ASSERT_EQ(plan.problems.size(), 1u);
  EXPECT_THAT(plan.problems[0].message, HasSubstr("needs a cluster"));
}

TEST(Plan, AQuotedKeywordIsAFileAndAQuotedBuiltinIsNot) {
  EXPECT_EQ(plan_of("'if'").problems[0].status, 127);
  EXPECT_THAT(plan_of("'echo' x").stages[0].how, HasSubstr("is its own"));
}

TEST(Plan, IsDescribedForAPersonAndForAProgram) {
  Plan plan = plan_of("cat | wc -l");
  std::string text = describe_plan(plan);
  EXPECT_THAT(text, HasSubstr("exec /usr/bin/wc"));
  EXPECT_THAT(text, HasSubstr("stdin -> 1 -> 2 -> stdout"));
  auto json = nlohmann::json::parse(to_json(plan));
  EXPECT_EQ(json["stages"][1]["command"], "wc -l");
  EXPECT_EQ(json["links"][0]["carrier"], "kernel_pipe");
}

TEST(Promise, OfBytesIsAsStrongAsWhatItsRecordsKeep) {
  using Stages = std::vector<PromisedStage>;
  const PromisedStage bytes, map{.mode = RecordMode::map}, ordered{.mode = RecordMode::each, .ordered = true};
  EXPECT_EQ(promise_of(Stages{bytes, bytes}, {}), "every byte in order; if a stage fails or dies, the flow fails");
  EXPECT_EQ(promise_of(Stages{bytes, ordered, bytes}, {}),
            "every record once, in the order of the input; if a stage of bytes fails or dies, the flow fails");
  EXPECT_EQ(
      promise_of(Stages{bytes, map, ordered}, {}),
      "every record once, in any order behind stages of many workers; if a stage of bytes fails or dies, the flow "
      "fails");
  EXPECT_EQ(
      promise_of(Stages{bytes, ordered}, {.over_hosts = true}),
      "every record once, in the order of the input; if a stage of bytes, a link of it or its host fails or dies, "
      "the flow fails");
  EXPECT_EQ(promise_of(Stages{bytes, {.on_every_node = true}}, {.over_hosts = true}),
            "every line whole, in any order behind a stage on every node; if a stage, a link or a host fails or dies, "
            "the flow fails");
}

}  // namespace
}  // namespace sluice::flow
