#include "flow/placement.h"

#include <gmock/gmock.h>

namespace sluice::flow {
namespace {

using Kind = Whereabouts::Kind;
using testing::ElementsAre;
using testing::HasSubstr;

NodeId id_of(std::uint8_t n) {
  NodeId id;
  id.bytes[0] = n;
  return id;
}

PlacementContext three_nodes() {
  return {
      .nodes = {{id_of(0x11), "n1", {}}, {id_of(0x22), "n2", {{"gpu", "yes"}}}, {id_of(0x33), "n3", {{"gpu", "yes"}}}},
      .gone = {},
      .home = id_of(0x11),
      .client_name = "laptop"};
}

Whereabouts anywhere() { return {}; }
Whereabouts node(std::string name) { return {.kind = Kind::node, .node = std::move(name)}; }
Whereabouts gpu() { return {.kind = Kind::label, .labels = {{"gpu", "yes"}}}; }

TEST(Placement, StagesWithoutAWordStayBesideTheirNeighbour) {
  auto places = place_stages({anywhere(), node("n2"), anywhere(), {.kind = Kind::here}}, three_nodes());
  EXPECT_EQ(places[0].place, "here");
  EXPECT_EQ(places[1].place, "n2");
  EXPECT_EQ(places[2].place, "n2");
  EXPECT_EQ(places[2].reason, "beside stage 2");
  EXPECT_EQ(places[3].place, "here");
}

TEST(Placement, ALabelPrefersWhereTheDataIs) {
  auto places = place_stages({node("n3"), gpu()}, three_nodes());
  EXPECT_EQ(places[1].place, "n3");
  EXPECT_THAT(places[1].reason, HasSubstr("of n2 n3"));
}

TEST(Placement, AnUnknownNodeIsAProblemThatNamesTheNearest) {
  auto places = place_stages({node("n22")}, three_nodes());
  EXPECT_THAT(places[0].problem, HasSubstr("no node 'n22'"));
  EXPECT_THAT(places[0].problem, HasSubstr("n1 n2 n3"));
}

TEST(Placement, ANodeThatIsGoneIsNotTakenForAMistypedName) {
  PlacementContext context = three_nodes();
  context.gone["n4"] = "is dead";
  EXPECT_EQ(place_stages({node("n4")}, context)[0].problem, "the node 'n4' is dead; those that are alive: n1 n2 n3");
}

TEST(Placement, ABeginningOfAnIdNamesANode) { EXPECT_EQ(place_stages({node("2200")}, three_nodes())[0].place, "n2"); }

TEST(Placement, ANameThatTwoNodesHaveIsAmbiguous) {
  PlacementContext context = three_nodes();
  context.nodes[1].name = "n1";
  EXPECT_THAT(place_stages({node("n1")}, context)[0].problem, HasSubstr("several nodes"));
}

TEST(Parts, NeighboursOnOneHostShareAPart) {
  auto graph = make_parts(place_stages({anywhere(), anywhere(), node("n2"), anywhere()}, three_nodes()), {});
  EXPECT_THAT(graph.parts, ElementsAre(Part{.host = {}, .stages = {0, 1}, .output = 0},
                                       Part{.host = id_of(0x22), .stages = {2, 3}, .inputs = {0}, .output = 1},
                                       Part{.host = {}, .inputs = {1}}));
  EXPECT_THAT(graph.links, ElementsAre(PartLink{0, 1}, PartLink{1, 2}));
}

TEST(Parts, TheClientsStdinIsALinkToAFirstStageElsewhere) {
  auto graph = make_parts(place_stages({node("n1")}, three_nodes()), {});
  EXPECT_THAT(graph.parts, ElementsAre(Part{.host = {}, .output = 0},
                                       Part{.host = id_of(0x11), .stages = {0}, .inputs = {0}, .output = 1},
                                       Part{.host = {}, .inputs = {1}}));
}

TEST(Parts, AllHasNoStdinAndMergesIntoTheStageBehindIt) {
  auto graph = make_parts(place_stages({{.kind = Kind::every_node}, anywhere()}, three_nodes()), {});
  ASSERT_EQ(graph.parts.size(), 4u);
  EXPECT_THAT(graph.parts[0].inputs, ElementsAre());
  EXPECT_EQ(graph.parts[3], (Part{.host = {}, .stages = {1}, .inputs = {0, 1, 2}}));
}

TEST(Parts, InTheBackgroundNobodyTakesTheOutput) {
  auto graph = make_parts(place_stages({node("n1")}, three_nodes()), {.client_input = false, .client_output = false});
  EXPECT_THAT(graph.parts, ElementsAre(Part{.host = id_of(0x11), .stages = {0}}));
}

}  // namespace
}  // namespace sluice::flow
