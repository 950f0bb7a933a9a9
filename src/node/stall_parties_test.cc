#include "node/stall_parties.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "flow/graph_wiring.h"

namespace sluice::node {
namespace {

using namespace std::chrono_literals;
using link::WorkerState;

enum : std::size_t { kParser, kFacebook, kTwitter, kMerger };

// A program copies to two stages of workers, which a third joins.
class StallPartiesTest : public testing::Test {
 protected:
  StallPartiesTest() {
    flow::FlowGraph graph;
    graph.stages.resize(4);
    for (std::size_t stage : {kFacebook, kTwitter, kMerger}) graph.stages[stage].words.worker = true;
    graph.links = {{kParser, kFacebook}, {kFacebook, kMerger}, {kParser, kTwitter}, {kTwitter, kMerger}};
    plan_.stages.resize(4);
    const char* names[] = {"parser", "facebook", "twitter", "merger"};
    for (std::size_t stage = 0; stage < 4; ++stage) {
      plan_.stages[stage].name = names[stage];
      plan_.stages[stage].mode = graph.stages[stage].words.worker ? flow::RecordMode::worker : flow::RecordMode::none;
    }
    for (const flow::Link& link : graph.links) plan_.links.push_back({.link = link});
    plan_.wiring = flow::wire(graph);
    sources_ = {{kFacebook, {{.writer = std::nullopt, .junction = 0, .output = 0}}},
                {kTwitter, {{.writer = std::nullopt, .junction = 0, .output = 1}}},
                {kMerger, {{.writer = kFacebook}, {.writer = kTwitter}}}};
    // What facebook found waits for merger, which holds all that it may of it; twitter has nothing left to do.
    for (std::size_t stage : {kFacebook, kTwitter, kMerger}) {
      stages(stage).steady = true;
      stages(stage).workers.resize(1);
      stages(stage).links.resize(1);
    }
    stages(kFacebook).output_waits = true;
    stages(kFacebook).workers[0] = {.in_flight = 50, .state = WorkerState::held_back};
    stages(kMerger).links.resize(2);
    stages(kMerger).links[0] = {.waiting = 9000, .in_flight = 500, .full = true};
    stages(kMerger).joins = true;
    stages(kMerger).workers[0] = {.in_flight = 500, .state = WorkerState::busy};
    standing_.junctions = {{.inputs = {{.reads = false}}, .paths = {{.blocks = true, .idle = false}, {}}}};
  }

  JobStageCounts& stages(std::size_t stage) { return standing_.stages[stage]; }

  std::optional<std::string> look() const {
    flow::StallWatch watch(10s);
    for (Duration waited = 0s; waited < 20s; waited += 1s)
      if (auto found = watch.on_look(stall_parties(plan_, sources_, standing_), TimePoint(1h) + waited))
        return (found->stalled ? "" : "suspicion: ") + found->sentence;
    return std::nullopt;
  }

  flow::Plan plan_;
  LinkSources sources_;
  FlowStanding standing_;
};

TEST_F(StallPartiesTest, NamesTheStagesAndTheWindows) {
  EXPECT_TRUE(can_stall(plan_));
  EXPECT_THAT(
      look(),
      testing::Optional(testing::EndsWith(
          "parser waits for room in the link to facebook (256 KiB), facebook waits for merger, merger holds 500 "
          "records "
          "of facebook, as many as it may, and waits for twitter, twitter waits for parser; raise the concurrency of "
          "merger, or put 'slow: { spill: 100M }' on the link parser -> facebook")));
}

TEST_F(StallPartiesTest, WhoeverMayGoOnByItselfKeepsTheOthersAlive) {
  using Change = std::function<void()>;
  const std::pair<const char*, Change> kAlive[] = {
      {"twitter works on a record",
       [&] { stages(kTwitter).workers[0] = {.in_flight = 1, .state = WorkerState::busy}; }},
      {"a record of twitter waits for a worker", [&] { stages(kTwitter).waiting = 1; }},
      {"a record of twitter will be tried again", [&] { stages(kTwitter).steady = false; }},
      {"something is on its way to twitter", [&] { standing_.junctions[0].paths[1].idle = false; }},
      {"the copy reads on",
       [&] {
         standing_.junctions[0] = {.inputs = {{.reads = true}}, .paths = {{}, {}}};
       }},
      {"facebook works on a record", [&] { stages(kFacebook).workers[0].state = WorkerState::busy; }},
      {"what twitter has found is on its way", [&] { stages(kMerger).links[1].waiting = 1; }},
      {"merger has room for facebook", [&] { stages(kMerger).links[0].full = false; }},
      {"merger has never joined any", [&] { stages(kMerger).joins = false; }},
      {"merger holds one record", [&] { stages(kMerger).workers[0].in_flight = 1; }},
      {"what merger has joined waits for its reader", [&] { stages(kMerger).output_waits = true; }},
      {"merger's worker is started anew", [&] { stages(kMerger).steady = false; }},
      {"nobody knows what twitter does", [&] { standing_.stages.erase(kTwitter); }},
  };
  const FlowStanding stalled = standing_;
  for (const auto& [what, change] : kAlive) {
    standing_ = stalled;
    change();
    EXPECT_EQ(look(), std::nullopt) << what;
  }
  standing_ = stalled;
  EXPECT_NE(look(), std::nullopt);
}

TEST_F(StallPartiesTest, OneThatHoldsRecordsOfBothMayBeAtWorkWhichIsSaid) {
  stages(kMerger).links[1].in_flight = 1;
  EXPECT_EQ(look(),
            "suspicion: nothing has moved for 10.0 s: merger holds 500 records of facebook and 1 record of twitter, as "
            "many as it "
            "may; if it waits for their counterparts, raise the concurrency of merger");
  stages(kMerger).links[1] = {.waiting = 1, .in_flight = 500, .full = true};
  EXPECT_THAT(look(), testing::Optional(testing::HasSubstr("500 records of facebook and 500 records of twitter, as")));
  stages(kMerger).joins = false;
  EXPECT_EQ(look(), std::nullopt) << "it has never joined any";
}

TEST_F(StallPartiesTest, OneThatHoldsAllThatItMayBehindTheEndOfTheOtherLinkWaitsForItself) {
  stages(kMerger).links[1].ended = true;
  EXPECT_THAT(look(),
              testing::Optional(testing::EndsWith("merger holds 500 records of facebook, as many as it may, and "
                                                  "nothing more comes from twitter; raise the concurrency of "
                                                  "merger")));
}

TEST_F(StallPartiesTest, AFlowWithoutAStageOfSeveralLinksCannotStall) {
  plan_.links.pop_back();
  EXPECT_FALSE(can_stall(plan_));
}

}  // namespace
}  // namespace sluice::node
