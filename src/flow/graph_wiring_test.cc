#include "flow/graph_wiring.h"

#include <gmock/gmock.h>

#include <string>

namespace sluice::flow {
namespace {

using testing::ElementsAre;

struct Case {
  std::size_t stages = 0;
  std::vector<Link> links;
};

FlowGraph graph_of(const Case& given) {
  FlowGraph graph;
  graph.stages.resize(given.stages);
  graph.links = given.links;
  return graph;
}

// "0 -> 1, 0e -> out": the paths of a junction.
std::string paths_of(const Junction& junction) {
  std::string text;
  for (const Junction::Path& path : junction.paths) {
    const Junction::Input& input = junction.inputs[path.input];
    auto to = junction.outputs[path.output].stage;
    text += (text.empty() ? "" : ", ") + std::to_string(input.stage) + (input.of_errors ? "e" : "") + " -> " +
            (to ? std::to_string(*to) : "out");
  }
  return text;
}

TEST(GraphWiring, RowNeedsNoJunction) {
  Wiring wiring = wire(graph_of({.stages = 3, .links = {{0, 1}, {1, 2}}}));
  EXPECT_THAT(wiring.plain, ElementsAre(true, true));
  EXPECT_TRUE(wiring.junctions.empty());
  EXPECT_EQ(wiring.reads_stdin, 0u);
  EXPECT_EQ(wiring.writes_stdout, 2u);
}

TEST(GraphWiring, BranchesAndMergesAreJunctionsOfTheirOwn) {
  Wiring wiring = wire(graph_of({.stages = 5, .links = {{0, 1}, {0, 2}, {1, 3}, {2, 3}, {3, 4}}}));
  EXPECT_THAT(wiring.plain, ElementsAre(false, false, false, false, true));
  ASSERT_EQ(wiring.junctions.size(), 2u);
  EXPECT_EQ(paths_of(wiring.junctions[0]), "0 -> 1, 0 -> 2");
  EXPECT_EQ(paths_of(wiring.junctions[1]), "1 -> 3, 2 -> 3");
  EXPECT_TRUE(wiring.output_at_junction(1));
  EXPECT_FALSE(wiring.output_at_junction(3));
  EXPECT_EQ(wiring.writes_stdout, 4u);
}

TEST(GraphWiring, LinksThatShareAnEndAreOneJunction) {
  Wiring wiring = wire(graph_of({.stages = 4, .links = {{0, 2}, {0, 3}, {1, 3}}}));
  ASSERT_EQ(wiring.junctions.size(), 2u);
  EXPECT_EQ(paths_of(wiring.junctions[0]), "0 -> 2, 0 -> 3, 1 -> 3");
  EXPECT_EQ(paths_of(wiring.junctions[1]), "2 -> out, 3 -> out");
  EXPECT_EQ(wiring.reads_stdin, std::nullopt);
  EXPECT_EQ(wiring.writes_stdout, std::nullopt);
}

TEST(GraphWiring, LinkThatDoesNotBlockIsAJunctionAlone) {
  Link link{.from = 0, .to = 1, .slow = {.kind = SlowPolicy::Kind::drop}};
  Wiring wiring = wire(graph_of({.stages = 2, .links = {link}}));
  ASSERT_EQ(wiring.junctions.size(), 1u);
  EXPECT_EQ(wiring.junctions[0].paths[0].slow.kind, SlowPolicy::Kind::drop);
}

TEST(GraphWiring, StderrIsAnInputOfItsOwn) {
  Link errors{.from = 0, .to = 1, .of_errors = true};
  Wiring wiring = wire(graph_of({.stages = 2, .links = {{0, 1}, errors}}));
  ASSERT_EQ(wiring.junctions.size(), 1u);
  EXPECT_EQ(paths_of(wiring.junctions[0]), "0 -> 1, 0e -> 1");
  EXPECT_EQ(wiring.writes_stdout, 1u);
}

TEST(GraphWiring, StageThatSaysSoReadsStdin) {
  FlowGraph graph = graph_of({.stages = 3, .links = {{0, 2}, {1, 2}}});
  EXPECT_EQ(wire(graph).reads_stdin, std::nullopt);
  graph.stages[1].reads_stdin = true;
  EXPECT_EQ(wire(graph).reads_stdin, 1u);
}

TEST(GraphWiring, RecordsAreThoseOfWhoWrites) {
  FlowGraph graph = graph_of({.stages = 3, .links = {{0, 1}, {0, 2}, {.from = 0, .to = 2, .of_errors = true}}});
  graph.stages[0].share = true;
  graph.stages[0].words.framing = RecordFraming::json;
  Wiring wiring = wire(graph);
  ASSERT_EQ(wiring.junctions[0].inputs.size(), 2u);
  EXPECT_TRUE(wiring.junctions[0].inputs[0].share);
  EXPECT_EQ(wiring.junctions[0].inputs[0].framing, RecordFraming::json);
  EXPECT_FALSE(wiring.junctions[0].inputs[1].share);
  EXPECT_EQ(wiring.junctions[0].inputs[1].framing, RecordFraming::lines);
}

TEST(GraphWiring, StreamOfStderrFromAnotherHostIsPlainAndFlowsEndsAreAsGiven) {
  FlowGraph graph = graph_of({.stages = 3, .links = {{.from = 1, .to = 0, .of_errors = true}}});
  graph.stages[1].elsewhere = graph.stages[2].elsewhere = true;
  graph.ends = FlowEnds{.reads_stdin = std::nullopt, .write_stdout = {0, 2}};
  Wiring wiring = wire(graph);
  EXPECT_THAT(wiring.plain, ElementsAre(true));
  ASSERT_EQ(wiring.junctions.size(), 1u);
  EXPECT_EQ(paths_of(wiring.junctions[0]), "0 -> out, 2 -> out");
  EXPECT_EQ(wiring.reads_stdin, std::nullopt) << "though nothing leads to stage 2";
}

}  // namespace
}  // namespace sluice::flow
