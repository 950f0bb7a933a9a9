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

StageNeeds anywhere() { return {}; }
StageNeeds node(std::string name) { return {.where = {.kind = Kind::node, .node = std::move(name)}}; }
StageNeeds gpu() { return {.where = {.kind = Kind::label, .labels = {{"gpu", "yes"}}}}; }
StageNeeds here() { return {.where = {.kind = Kind::here}}; }
StageNeeds everywhere() { return {.where = {.kind = Kind::every_node}}; }
StageNeeds spread(std::uint32_t workers, StageNeeds needs = {}) {
  needs.workers = workers;
  needs.spreads = true;
  return needs;
}

TEST(Placement, StagesWithoutAWordStayBesideTheirNeighbour) {
  auto places = place_stages({anywhere(), node("n2"), anywhere(), here()}, three_nodes());
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
  auto graph = make_parts(place_stages({everywhere(), anywhere()}, three_nodes()), {});
  ASSERT_EQ(graph.parts.size(), 4u);
  EXPECT_THAT(graph.parts[0].inputs, ElementsAre());
  EXPECT_EQ(graph.parts[3], (Part{.host = {}, .stages = {1}, .inputs = {0, 1, 2}}));
}

TEST(Parts, InTheBackgroundNobodyTakesTheOutput) {
  auto graph = make_parts(place_stages({node("n1")}, three_nodes()), {.client_input = false, .client_output = false});
  EXPECT_THAT(graph.parts, ElementsAre(Part{.host = id_of(0x11), .stages = {0}}));
}

TEST(Placement, AStageOfAllGetsACopyOnEachNode) {
  auto places = place_stages({node("n1"), everywhere(), anywhere()}, three_nodes());
  EXPECT_TRUE(places[1].problem.empty());
  EXPECT_EQ(places[2].place, "here");
  auto graph = make_parts(places, {});
  const Part& first = graph.parts[1];  // behind the client's stdin
  ASSERT_TRUE(first.output.has_value());
  EXPECT_EQ(first.copies.size(), 2u);
  EXPECT_EQ(graph.parts.back().inputs.size(), 3u);
}

// --- stages of many workers ---------------------------------------------------------------------------------------

TEST(Placement, WorkersGoWhereCoresAreFree) {
  PlacementContext context = three_nodes();
  context.nodes[0].free_cores = 1;
  context.nodes[1].free_cores = 4;
  context.nodes[2].free_cores = 0.5;
  auto places = place_stages({anywhere(), spread(6), anywhere()}, context);
  EXPECT_EQ(places[1].place, "n1:1 n2:4 n3:1");
  EXPECT_EQ(places[1].hosts, std::vector<Host>{Host()}) << "its records are beside its left neighbour";
  EXPECT_EQ(places[2].place, "here");
}

TEST(Placement, WorkersOfALabelGoToItsNodes) {
  auto places = place_stages({node("n1"), spread(4, gpu()), anywhere()}, three_nodes());
  EXPECT_EQ(places[1].place, "n2:2 n3:2");
  EXPECT_EQ(places[1].hosts, places[0].hosts);
  EXPECT_EQ(places[2].place, "n1");
}

TEST(Placement, WorkersOfAStageThatNamesItsNodeAreThere) {
  auto places = place_stages({spread(4, node("n2"))}, three_nodes());
  EXPECT_TRUE(places[0].seats.empty());
  EXPECT_EQ(places[0].place, "n2");
}

TEST(Placement, RecordsOfAStageWithFilesAreWhereThoseFilesAre) {
  StageNeeds needs = node("n2");
  needs.workers = 1;
  needs.home_here = true;
  auto places = place_stages({needs, anywhere()}, three_nodes());
  ASSERT_EQ(places[0].seats.size(), 1u);
  EXPECT_EQ(places[0].seats[0].workers, 1u);
  EXPECT_EQ(places[0].hosts, std::vector<Host>{Host()});
  EXPECT_EQ(places[1].place, "here");
}

TEST(Placement, EachWorkerElsewhereHasALinkThereAndOneBack) {
  auto graph = make_parts(place_stages({anywhere(), spread(3, gpu()), anywhere()}, three_nodes()), {});
  ASSERT_EQ(graph.parts.size(), 3u);
  EXPECT_EQ(graph.parts[0].stages, (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(graph.parts[0].seats.size(), 3u);
  EXPECT_EQ(graph.parts[1].seats_of, std::optional<std::size_t>(1));
  EXPECT_EQ(graph.parts[1].seats.size() + graph.parts[2].seats.size(), 3u);
  for (const Seat& seat : graph.parts[0].seats) {
    EXPECT_EQ(graph.links[seat.requests].from, 0u);
    EXPECT_EQ(graph.links[seat.replies].to, 0u);
    EXPECT_EQ(graph.links[seat.requests].to, graph.links[seat.replies].from);
  }
}

// --- workers that are started by hand -----------------------------------------------------------------------------

StageNeeds with_role(std::uint32_t workers, Whereabouts where = {}) {
  return {.where = std::move(where), .workers = workers, .spreads = workers > 0, .runs_again = true, .joins = true};
}

TEST(Placement, AStageWhoseWorkersAreAllStartedByHandHasItsRecordsBesideItsNeighbour) {
  auto places = place_stages({node("n1"), with_role(0), anywhere()}, three_nodes());
  EXPECT_EQ(places[1].hosts, places[0].hosts);
  EXPECT_TRUE(places[1].seats.empty());
  EXPECT_EQ(places[2].place, "n1");
}

TEST(Placement, TheOwnWorkersOfAStageWithARoleAreInSeatsWhereverTheyRun) {
  StageNeeds beside_it = with_role(2, {.kind = Whereabouts::Kind::node, .node = "n1"});
  auto places = place_stages({node("n1"), beside_it}, three_nodes());
  ASSERT_TRUE(places[1].problem.empty()) << places[1].problem;
  EXPECT_EQ(places[1].seats, (std::vector<SeatChoice>{{.host = places[0].hosts[0], .workers = 2}}));
  auto one = place_stages({anywhere(), with_role(1)}, three_nodes());
  EXPECT_EQ(one[1].seats.size(), 1u);
  EXPECT_THAT(place_stages({with_role(1, {.kind = Whereabouts::Kind::here})}, three_nodes())[0].problem,
              HasSubstr("on: here"));
}

}  // namespace
}  // namespace sluice::flow
