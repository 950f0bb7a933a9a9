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

FlowGraph row(std::size_t stages) {
  FlowGraph graph;
  graph.stages.resize(stages);
  graph.links = links_of_row(stages);
  return graph;
}

std::vector<StagePlace> place_row(const std::vector<StageNeeds>& wanted, const PlacementContext& context) {
  return place_stages(row(wanted.size()), wanted, context);
}

PartGraph parts_of_row(const std::vector<StagePlace>& places, const PartOptions& options) {
  return make_parts(row(places.size()), places, options);
}

using Numbers = std::vector<std::size_t>;
using Links = std::vector<Numbers>;

// By the numbers of its links, for each stream.
std::vector<std::vector<std::size_t>> links_of(const std::vector<PartStream>& streams) {
  std::vector<std::vector<std::size_t>> links;
  for (const PartStream& stream : streams) links.push_back(stream.links);
  return links;
}

MATCHER_P4(IsPart, host, stages, inputs, outputs, "") {
  *result_listener << "inputs " << testing::PrintToString(links_of(arg.inputs)) << ", outputs "
                   << testing::PrintToString(links_of(arg.outputs));
  return arg.host == Host(host) && arg.stages == Numbers(stages) && links_of(arg.inputs) == Links(inputs) &&
         links_of(arg.outputs) == Links(outputs);
}

TEST(Placement, StagesWithoutAWordStayBesideTheirNeighbour) {
  auto places = place_row({anywhere(), node("n2"), anywhere(), here()}, three_nodes());
  EXPECT_EQ(places[0].place, "here");
  EXPECT_EQ(places[1].place, "n2");
  EXPECT_EQ(places[2].place, "n2");
  EXPECT_EQ(places[2].reason, "beside stage 2");
  EXPECT_EQ(places[3].place, "here");
}

TEST(Placement, ALabelPrefersWhereTheDataIs) {
  auto places = place_row({node("n3"), gpu()}, three_nodes());
  EXPECT_EQ(places[1].place, "n3");
  EXPECT_THAT(places[1].reason, HasSubstr("of n2 n3"));
}

TEST(Placement, AnUnknownNodeIsAProblemThatNamesTheNearest) {
  auto places = place_row({node("n22")}, three_nodes());
  EXPECT_THAT(places[0].problem, HasSubstr("no node 'n22'"));
  EXPECT_THAT(places[0].problem, HasSubstr("n1 n2 n3"));
}

TEST(Placement, ANodeThatIsGoneIsNotTakenForAMistypedName) {
  PlacementContext context = three_nodes();
  context.gone["n4"] = "is dead";
  EXPECT_EQ(place_row({node("n4")}, context)[0].problem, "the node 'n4' is dead; those that are alive: n1 n2 n3");
}

TEST(Placement, ABeginningOfAnIdNamesANode) { EXPECT_EQ(place_row({node("2200")}, three_nodes())[0].place, "n2"); }

TEST(Placement, ANameThatTwoNodesHaveIsAmbiguous) {
  PlacementContext context = three_nodes();
  context.nodes[1].name = "n1";
  EXPECT_THAT(place_row({node("n1")}, context)[0].problem, HasSubstr("several nodes"));
}

TEST(Parts, NeighboursOnOneHostShareAPart) {
  auto graph = parts_of_row(place_row({anywhere(), anywhere(), node("n2"), anywhere()}, three_nodes()), {});
  EXPECT_THAT(graph.parts, ElementsAre(IsPart(Host(), Numbers{0, 1}, Links{}, Links{{0}}),
                                       IsPart(Host(id_of(0x22)), Numbers{2, 3}, Links{{0}}, Links{{1}}),
                                       IsPart(Host(), Numbers{}, Links{{1}}, Links{})));
  EXPECT_THAT(graph.links, ElementsAre(PartLink{0, 1}, PartLink{1, 2}));
}

TEST(Parts, TheClientsStdinIsALinkToAFirstStageElsewhere) {
  auto graph = parts_of_row(place_row({node("n1")}, three_nodes()), {});
  EXPECT_THAT(graph.parts, ElementsAre(IsPart(Host(), Numbers{}, Links{}, Links{{0}}),
                                       IsPart(Host(id_of(0x11)), Numbers{0}, Links{{0}}, Links{{1}}),
                                       IsPart(Host(), Numbers{}, Links{{1}}, Links{})));
}

TEST(Parts, AllHasNoStdinAndMergesIntoTheStageBehindIt) {
  auto graph = parts_of_row(place_row({everywhere(), anywhere()}, three_nodes()), {});
  ASSERT_EQ(graph.parts.size(), 4u);
  EXPECT_THAT(graph.parts[0].inputs, ElementsAre());
  EXPECT_THAT(graph.parts[3], IsPart(Host(), Numbers{1}, Links{{0, 1, 2}}, Links{}));
}

TEST(Parts, InTheBackgroundNobodyTakesTheOutput) {
  auto graph = parts_of_row(place_row({node("n1")}, three_nodes()), {.client_input = false, .client_output = false});
  EXPECT_THAT(graph.parts, ElementsAre(IsPart(Host(id_of(0x11)), Numbers{0}, Links{}, Links{})));
}

TEST(Placement, AStageOfAllGetsACopyOnEachNode) {
  auto places = place_row({node("n1"), everywhere(), anywhere()}, three_nodes());
  EXPECT_TRUE(places[1].problem.empty());
  EXPECT_EQ(places[2].place, "here");
  auto graph = parts_of_row(places, {});
  const Part& first = graph.parts[1];  // behind the client's stdin
  EXPECT_THAT(links_of(first.outputs), ElementsAre(Numbers{1, 2, 3}));
  EXPECT_THAT(links_of(graph.parts.back().inputs), ElementsAre(Numbers{4, 5, 6}));
}

// --- stages of many workers ---------------------------------------------------------------------------------------

TEST(Placement, WorkersGoWhereCoresAreFree) {
  PlacementContext context = three_nodes();
  context.nodes[0].free_cores = 1;
  context.nodes[1].free_cores = 4;
  context.nodes[2].free_cores = 0.5;
  auto places = place_row({anywhere(), spread(6), anywhere()}, context);
  EXPECT_EQ(places[1].place, "n1:1 n2:4 n3:1");
  EXPECT_EQ(places[1].hosts, std::vector<Host>{Host()}) << "its records are beside its left neighbour";
  EXPECT_EQ(places[2].place, "here");
}

TEST(Placement, WorkersOfALabelGoToItsNodes) {
  auto places = place_row({node("n1"), spread(4, gpu()), anywhere()}, three_nodes());
  EXPECT_EQ(places[1].place, "n2:2 n3:2");
  EXPECT_EQ(places[1].hosts, places[0].hosts);
  EXPECT_EQ(places[2].place, "n1");
}

TEST(Placement, WorkersOfAStageThatNamesItsNodeAreThere) {
  auto places = place_row({spread(4, node("n2"))}, three_nodes());
  EXPECT_TRUE(places[0].seats.empty());
  EXPECT_EQ(places[0].place, "n2");
}

TEST(Placement, RecordsOfAStageWithFilesAreWhereThoseFilesAre) {
  StageNeeds needs = node("n2");
  needs.workers = 1;
  needs.home_here = true;
  auto places = place_row({needs, anywhere()}, three_nodes());
  ASSERT_EQ(places[0].seats.size(), 1u);
  EXPECT_EQ(places[0].seats[0].workers, 1u);
  EXPECT_EQ(places[0].hosts, std::vector<Host>{Host()});
  EXPECT_EQ(places[1].place, "here");
}

TEST(Placement, EachWorkerElsewhereHasALinkThereAndOneBack) {
  auto graph = parts_of_row(place_row({anywhere(), spread(3, gpu()), anywhere()}, three_nodes()), {});
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

// --- graphs -------------------------------------------------------------------------------------------------------

// stages a, b, c and so on
FlowGraph graph_of(std::size_t stages, std::vector<Link> links) {
  FlowGraph graph;
  for (std::size_t i = 0; i < stages; ++i)
    graph.stages.push_back({.name = std::string(1, static_cast<char>('a' + i)), .command = "x"});
  graph.links = std::move(links);
  return graph;
}

FlowGraph diamond() { return graph_of(4, {{0, 1}, {0, 2}, {1, 3}, {2, 3}}); }

PartGraph parts_of(const FlowGraph& graph, const std::vector<StageNeeds>& wanted) {
  return make_parts(graph, place_stages(graph, wanted, three_nodes()), {});
}

TEST(Placement, AStageOfSeveralLinksIsBesideTheStageOfTheFirst) {
  FlowGraph graph = diamond();
  auto places = place_stages(graph, {node("n1"), node("n2"), node("n3"), anywhere()}, three_nodes());
  EXPECT_EQ(places[3].place, "n2");
  EXPECT_EQ(places[3].reason, "beside stage 'b'");
  graph.links[2].of_errors = true;
  EXPECT_EQ(place_stages(graph, {node("n1"), node("n2"), node("n3"), anywhere()}, three_nodes())[3].place, "n3")
      << "links of stderr count last";
}

TEST(Parts, EachLinkBetweenHostsIsALinkOfItsOwn) {
  auto graph = parts_of(diamond(), {node("n1"), node("n2"), node("n3"), node("n1")});
  ASSERT_EQ(graph.parts.size(), 6u) << "and an end of the client's on each side";
  const Part &source = graph.parts[1], &join = graph.parts[4];
  EXPECT_EQ(source.stages, Numbers{0});
  EXPECT_THAT(links_of(source.outputs), ElementsAre(Numbers{1}, Numbers{2}));
  EXPECT_EQ(join.stages, Numbers{3});
  EXPECT_THAT(links_of(join.inputs), ElementsAre(Numbers{3}, Numbers{4}));
  EXPECT_EQ(join.inputs[1].from, std::optional<std::size_t>(2));
}

TEST(Parts, StagesOnOneHostThatLinksJoinAreOnePart) {
  auto graph = parts_of(diamond(), {node("n1"), node("n2"), node("n1"), node("n1")});
  ASSERT_EQ(graph.parts.size(), 4u);
  const Part& part = graph.parts[1];
  EXPECT_EQ(part.stages, (Numbers{0, 2, 3})) << "though what passes n2 comes back to it";
  EXPECT_EQ(part.inner_links, (Numbers{1, 3}));
  EXPECT_EQ(part.outputs[0].to, std::optional<std::size_t>(1));
  EXPECT_EQ(part.inputs[1].from, std::optional<std::size_t>(1));
}

TEST(Parts, OutputsOfTheFlowAreMergedBesideTheClientsOwn) {
  auto graph = parts_of(graph_of(4, {{0, 1}, {0, 2}, {0, 3}}), {anywhere(), node("n2"), here(), here()});
  ASSERT_EQ(graph.parts.size(), 2u);
  EXPECT_EQ(graph.parts[0].stages, (Numbers{0, 2, 3}));
  EXPECT_EQ(graph.parts[0].write_stdout, (Numbers{2, 3}));
  EXPECT_EQ(graph.parts[0].reads_stdin, std::optional<std::size_t>(0));
  ASSERT_EQ(graph.parts[0].inputs.size(), 1u);
  EXPECT_FALSE(graph.parts[0].inputs[0].to.has_value());
}

TEST(Parts, OutputsOfTheFlowElsewhereHaveAPartOfTheClient) {
  auto graph = parts_of(graph_of(3, {{0, 1}, {0, 2}}), {node("n1"), node("n2"), node("n3")});
  const Part& sink = graph.parts.back();
  EXPECT_FALSE(sink.host.has_value());
  EXPECT_TRUE(sink.stages.empty());
  EXPECT_EQ(sink.inputs.size(), 2u);
}

TEST(Parts, OfSeveralRowsOneReadsTheClientsStdin) {
  FlowGraph graph = graph_of(4, {{0, 2}, {1, 3}});
  graph.stages[1].reads_stdin = true;
  auto parts = parts_of(graph, {node("n1"), node("n2"), node("n1"), node("n2")});
  EXPECT_EQ(parts.parts[0].outputs[0].to, std::optional<std::size_t>(1));
  EXPECT_TRUE(parts.parts[1].inputs.empty());
}

TEST(Parts, AllInAGraphIsOneStreamOfManyLinks) {
  auto graph = parts_of(diamond(), {node("n1"), everywhere(), node("n3"), node("n1")});
  const Part &source = graph.parts[1], &join = graph.parts[6];
  EXPECT_THAT(links_of(source.outputs), ElementsAre(Numbers{1, 2, 3}, Numbers{4}));
  EXPECT_THAT(links_of(join.inputs), ElementsAre(Numbers{5, 6, 7}, Numbers{8}));
}

// --- workers that are started by hand -----------------------------------------------------------------------------

StageNeeds with_role(std::uint32_t workers, Whereabouts where = {}) {
  return {.where = std::move(where), .workers = workers, .spreads = workers > 0, .runs_again = true, .joins = true};
}

TEST(Placement, AStageWhoseWorkersAreAllStartedByHandHasItsRecordsBesideItsNeighbour) {
  auto places = place_row({node("n1"), with_role(0), anywhere()}, three_nodes());
  EXPECT_EQ(places[1].hosts, places[0].hosts);
  EXPECT_TRUE(places[1].seats.empty());
  EXPECT_EQ(places[2].place, "n1");
}

TEST(Placement, TheOwnWorkersOfAStageWithARoleAreInSeatsWhereverTheyRun) {
  StageNeeds beside_it = with_role(2, {.kind = Whereabouts::Kind::node, .node = "n1"});
  auto places = place_row({node("n1"), beside_it}, three_nodes());
  ASSERT_TRUE(places[1].problem.empty()) << places[1].problem;
  EXPECT_EQ(places[1].seats, (std::vector<SeatChoice>{{.host = places[0].hosts[0], .workers = 2}}));
  auto one = place_row({anywhere(), with_role(1)}, three_nodes());
  EXPECT_EQ(one[1].seats.size(), 1u);
  EXPECT_THAT(place_row({with_role(1, {.kind = Whereabouts::Kind::here})}, three_nodes())[0].problem,
              HasSubstr("on: here"));
}

}  // namespace
}  // namespace sluice::flow
