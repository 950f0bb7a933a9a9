#include "node/counters_assembly.h"

#include <gtest/gtest.h>

#include <random>

#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

// A flow over hosts, and what these have told. Its links have the ids "0", "1" and so on.
class World {
 public:
  std::size_t add_part(const std::string& host, std::vector<std::size_t> stages) {
    graph.parts.push_back({.host = NodeId::random(), .stages = std::move(stages)});
    flow::Part& part = graph.parts.back();
    for (std::size_t i = 0; i + 1 < part.stages.size(); ++i) {
      part.inner_links.push_back(whole.links.size());
      whole.links.push_back({.from = part.stages[i], .to = part.stages[i + 1]});
    }
    hosts.push_back(host);
    moved.emplace_back();
    for (std::size_t stage : graph.parts.back().stages) texts.resize(std::max(texts.size(), stage + 1));
    return graph.parts.size() - 1;
  }
  std::size_t add_link(std::size_t from, std::size_t to, bool of_seat = false) {
    graph.links.push_back({.from = from, .to = to, .of_seat = of_seat});
    std::size_t link = graph.links.size() - 1;
    if (of_seat) return link;
    flow::PartStream stream{
        .from = graph.parts[from].stages.back(), .to = graph.parts[to].stages.front(), .links = {link}};
    graph.parts[from].outputs.push_back(stream);
    std::vector<flow::PartStream>& inputs = graph.parts[to].inputs;
    if (inputs.empty())
      inputs.push_back(stream);
    else
      inputs.front().links.push_back(link);  // of another worker of the same stage
    return link;
  }
  // A part of a graph, whose links are added one by one.
  std::size_t add_graph_part(const std::string& host, std::vector<std::size_t> stages) {
    std::size_t part = add_part(host, {});
    for (std::size_t stage : stages) texts.resize(std::max(texts.size(), stage + 1));
    graph.parts[part].stages = std::move(stages);
    return part;
  }
  void add_inner(std::size_t part, std::size_t from, std::size_t to, bool of_errors = false) {
    graph.parts[part].inner_links.push_back(whole.links.size());
    whole.links.push_back({.from = from, .to = to, .of_errors = of_errors});
  }
  std::size_t add_between(std::size_t from_part, std::size_t from, std::size_t to_part, std::size_t to,
                          bool of_errors = false) {
    flow::PartStream stream{.link = whole.links.size(), .from = from, .to = to, .links = {graph.links.size()}};
    whole.links.push_back({.from = from, .to = to, .of_errors = of_errors});
    graph.links.push_back({.from = from_part, .to = to_part});
    graph.parts[from_part].outputs.push_back(stream);
    graph.parts[to_part].inputs.push_back(stream);
    return graph.links.size() - 1;
  }
  struct Counts {
    std::uint64_t in = 0, out = 0, dropped = 0;
  };
  v1::PathMoved& path(std::size_t part, std::uint32_t from, std::optional<std::uint32_t> to, Counts bytes,
                      std::optional<Counts> records = {}) {
    v1::PathMoved& path = *moved[part].add_paths();
    path.set_from(from);
    if (to) path.set_to(*to);
    auto fill = [](const Counts& counts, v1::PathBalance& message) {
      message.set_in(counts.in);
      message.set_out(counts.out);
      message.set_dropped(counts.dropped);
    };
    fill(bytes, *path.mutable_bytes());
    if (records) fill(*records, *path.mutable_records());
    return path;
  }
  v1::StageMoved& stage(std::size_t part, std::uint32_t index) {
    v1::StageMoved& stage = *moved[part].add_stages();
    stage.set_stage(index);
    stage.set_running(true);
    return stage;
  }
  void end(std::size_t part, std::size_t link, bool is_input, std::uint64_t bytes) {
    v1::LinkMoved& end = *moved[part].add_links();
    end.set_link_id(std::to_string(link));
    end.set_is_input(is_input);
    end.set_bytes(bytes);
  }
  v1::FlowCounters assembled() const {
    AssemblyInput input{.whole = whole,
                        .graph = graph,
                        .host_names = hosts,
                        .moved = moved,
                        .text_of = [this](std::size_t stage) -> const v1::StageText& { return texts[stage]; },
                        .find_link = [](const std::string& id) { return std::optional<std::size_t>(std::stoul(id)); },
                        .stages = texts.size()};
    v1::FlowCounters counters;
    assemble(input, counters);
    return counters;
  }

  flow::FlowGraph whole;
  flow::PartGraph graph;
  std::vector<std::string> hosts;
  std::vector<v1::Moved> moved;
  std::vector<v1::StageText> texts;
};

const v1::LinkCounters& link_of(const v1::FlowCounters& counters, int from, int to, bool of_errors = false) {
  for (const v1::LinkCounters& link : counters.links())
    if (link.from() == from && link.to() == to && link.of_errors() == of_errors) return link;
  ADD_FAILURE() << "no link " << from << " -> " << to;
  return v1::LinkCounters::default_instance();
}

void fill(v1::RecordsMoved& records, std::uint64_t read, std::uint64_t done, std::uint64_t dead, std::uint64_t bytes) {
  records.set_read(read);
  records.set_done(done);
  records.set_dead(dead);
  records.set_in_flight(read - done - dead);
  records.set_read_bytes(bytes);
}

void expect_counts(const v1::LinkBalance& counts, std::uint64_t in, std::uint64_t out, std::uint64_t in_flight) {
  EXPECT_EQ(counts.in(), in);
  EXPECT_EQ(counts.out(), out);
  EXPECT_EQ(counts.in_flight(), in_flight);
}

TEST(CountersAssembly, ALinkBetweenHostsIsCountedByItsEnds) {
  World world;
  std::size_t n1 = world.add_part("n1", {0}), n2 = world.add_part("n2", {1});
  std::size_t link = world.add_link(n1, n2);
  world.stage(n1, 0).set_output_pipe_bytes(100);
  world.stage(n2, 1).set_input_pipe_bytes(30);
  world.end(n1, link, false, 5000);
  world.end(n2, link, true, 4000);
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 1);
  EXPECT_EQ(counters.links(0).from(), 0);
  EXPECT_EQ(counters.links(0).to(), 1);
  EXPECT_FALSE(counters.links(0).estimated());
  expect_counts(counters.links(0).bytes(), 5100, 3970, 1130);
}

TEST(CountersAssembly, APipeBetweenProgramsIsEstimated) {
  World world;
  std::size_t part = world.add_part("n1", {0, 1});
  world.stage(part, 0).set_io_write_bytes(700);
  world.stage(part, 1).set_input_pipe_bytes(50);
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 1);
  EXPECT_TRUE(counters.links(0).estimated());
  expect_counts(counters.links(0).bytes(), 700, 650, 50);
}

TEST(CountersAssembly, AStageThatTakesRecordsCounts) {
  World world;
  std::size_t part = world.add_part("n1", {0, 1, 2});
  world.texts[1].add_record_words("@map");
  v1::StageMoved& first = world.stage(part, 0);
  first.set_io_write_bytes(999);  // it writes elsewhere, too
  first.set_output_pipe_bytes(40);
  v1::RecordsMoved& records = *world.stage(part, 1).mutable_records();
  records.set_read(10);
  records.set_done(6);
  records.set_dropped(1);
  records.set_dead(1);
  records.set_in_flight(2);
  records.set_read_bytes(300);
  records.set_written_bytes(200);
  world.stage(part, 2).set_input_pipe_bytes(20);
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 2);
  expect_counts(counters.links(0).bytes(), 340, 300, 40);
  EXPECT_FALSE(counters.links(0).estimated());
  expect_counts(counters.links(0).records(), 10, 6, 2);
  EXPECT_EQ(counters.links(0).records().dropped(), 1);
  EXPECT_EQ(counters.links(0).records().dead(), 1);
  expect_counts(counters.links(1).bytes(), 200, 180, 20);
  EXPECT_FALSE(counters.links(1).has_records());
  EXPECT_EQ(counters.stages(1).kind(), "map");
  EXPECT_EQ(counters.stages(1).read_bytes(), 300);
}

TEST(CountersAssembly, RecordsOfTheFirstStageComeFromTheInput) {
  World world;
  std::size_t part = world.add_part("", {0});
  world.stage(part, 0).mutable_records()->set_read_bytes(5);
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 1);
  EXPECT_EQ(counters.links(0).from(), -1);
  EXPECT_EQ(counters.links(0).to(), 0);
}

TEST(CountersAssembly, WorkersOfOneStageOnSeveralHostsAreAdded) {
  World world;
  std::size_t n1 = world.add_part("n1", {0}), n2 = world.add_part("n2", {0}), n3 = world.add_part("n3", {1});
  std::size_t a = world.add_link(n1, n3), b = world.add_link(n2, n3);
  for (std::size_t part : {n1, n2}) {
    v1::StageMoved& stage = world.stage(part, 0);
    stage.mutable_activity()->set_busy_us(10);
    stage.add_workers()->set_running(true);
  }
  world.moved[n2].mutable_stages(0)->set_running(false);
  world.stage(n3, 1).set_input_pipe_bytes(1);  // behind the merge: of no link alone
  world.end(n1, a, false, 10);
  world.end(n3, a, true, 10);
  world.end(n2, b, false, 20);
  world.end(n3, b, true, 15);
  v1::FlowCounters counters = world.assembled();
  EXPECT_EQ(counters.stages(0).activity().busy_us(), 20);
  EXPECT_EQ(counters.stages(0).workers(), 2);
  EXPECT_TRUE(counters.stages(0).running());
  EXPECT_EQ(counters.stages(0).nodes_size(), 2);
  ASSERT_EQ(counters.links_size(), 1);
  expect_counts(counters.links(0).bytes(), 30, 25, 5);
}

TEST(CountersAssembly, WorkersInSeatsAreOnTheirHosts) {
  World world;
  std::size_t home = world.add_part("n1", {0}), seats = world.add_part("n2", {});
  world.graph.parts[seats].seats_of = 0;
  std::size_t requests = world.add_link(home, seats, true), replies = world.add_link(seats, home, true);
  world.graph.parts[home].seats.push_back({.stage = 0, .requests = requests, .replies = replies});
  world.stage(home, 0).add_workers()->set_worker(1);
  world.end(home, requests, false, 1000);
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.stages(0).each_worker_size(), 1);
  EXPECT_EQ(counters.stages(0).each_worker(0).node(), "n2");
  ASSERT_EQ(counters.stages(0).nodes_size(), 1);
  EXPECT_EQ(counters.stages(0).nodes(0), "n2");
  EXPECT_EQ(counters.links_size(), 0);  // what goes to seats is no link of the flow
}

TEST(CountersAssembly, OfAHostThatHasNotAnsweredNothingIsTold) {
  World world;
  std::size_t n1 = world.add_part("n1", {0}), n2 = world.add_part("n2", {1});
  world.add_link(n1, n2);
  v1::FlowCounters counters = world.assembled();
  EXPECT_EQ(counters.stages_size(), 2);
  EXPECT_FALSE(counters.stages(0).has_activity());
  EXPECT_EQ(counters.links_size(), 0);
}

TEST(CountersAssembly, AStageThatIsNoneOfTheFlowIsNotBelieved) {
  World world;
  std::size_t part = world.add_part("n1", {0});
  world.stage(part, 77);
  EXPECT_EQ(world.assembled().stages_size(), 1);
}

// 0 is copied to 1 and 2, which has records.
TEST(CountersAssembly, ALinkThatMeetsOthersIsCountedWhereTheyMeet) {
  World world;
  std::size_t part = world.add_graph_part("n1", {0, 1, 2});
  world.add_inner(part, 0, 1);
  world.add_inner(part, 0, 2);
  world.stage(part, 0).set_io_write_bytes(999);
  world.stage(part, 1).set_input_pipe_bytes(10);
  fill(*world.stage(part, 2).mutable_records(), 30, 20, 2, 300);
  world.path(part, 0, 1, {.in = 1000, .out = 600, .dropped = 100});
  world.path(part, 0, 2, {.in = 1000, .out = 400}, World::Counts{.in = 100, .out = 40});
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 2);
  expect_counts(link_of(counters, 0, 1).bytes(), 1000, 590, 310);
  EXPECT_EQ(link_of(counters, 0, 1).bytes().dropped(), 100);
  EXPECT_FALSE(link_of(counters, 0, 1).estimated());
  EXPECT_FALSE(link_of(counters, 0, 1).has_records());
  expect_counts(link_of(counters, 0, 2).bytes(), 1000, 300, 700);
  expect_counts(link_of(counters, 0, 2).records(), 100, 20, 78);
  EXPECT_EQ(link_of(counters, 0, 2).records().dead(), 2);
}

TEST(CountersAssembly, WhatAStageHasOfSeveralLinksIsGivenToNoneOfThem) {
  World world;
  std::size_t part = world.add_graph_part("n1", {0, 1, 2});
  world.add_inner(part, 0, 2);
  world.add_inner(part, 1, 2);
  for (std::uint32_t stage : {0, 1}) world.stage(part, stage);
  v1::StageMoved& merger = world.stage(part, 2);
  fill(*merger.mutable_records(), 30, 20, 2, 300);
  merger.set_input_pipe_bytes(5);
  world.path(part, 0, 2, {.in = 200, .out = 150}, World::Counts{.in = 20, .out = 15});
  world.path(part, 1, 2, {.in = 300, .out = 250}, World::Counts{.in = 30, .out = 25});
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 2);
  expect_counts(link_of(counters, 0, 2).bytes(), 200, 150, 50);
  expect_counts(link_of(counters, 0, 2).records(), 20, 15, 5);
  expect_counts(link_of(counters, 1, 2).records(), 30, 25, 5);
}

TEST(CountersAssembly, AStageOfWorkersCountsItsLinksApart) {
  World world;
  std::size_t n1 = world.add_graph_part("n1", {0, 2}), n2 = world.add_graph_part("n2", {1});
  world.add_inner(n1, 0, 2);
  std::size_t link = world.add_between(n2, 1, n1, 2);
  world.stage(n1, 0).set_output_pipe_bytes(7);
  world.stage(n2, 1);
  fill(*world.stage(n1, 2).mutable_records(), 30, 20, 2, 300);
  for (std::uint32_t from : {0, 1}) {
    v1::LinkRead& read = *world.moved[n1].add_link_reads();
    read.set_from(from);
    read.set_to(2);
    fill(*read.mutable_records(), 10 + 10 * from, 8, 1, 100 + 100 * from);
  }
  world.end(n2, link, false, 250);
  world.end(n1, link, true, 220);
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 2);
  expect_counts(link_of(counters, 0, 2).bytes(), 107, 100, 7);
  expect_counts(link_of(counters, 0, 2).records(), 10, 8, 1);
  expect_counts(link_of(counters, 1, 2).bytes(), 250, 200, 50);
  expect_counts(link_of(counters, 1, 2).records(), 20, 8, 11);
  EXPECT_EQ(link_of(counters, 1, 2).records().dead(), 1);
}

TEST(CountersAssembly, ALinkBetweenHostsIsCountedWhereItMeetsOthersOnBoth) {
  World world;
  std::size_t n1 = world.add_graph_part("n1", {0}), n2 = world.add_graph_part("n2", {1, 2});
  std::size_t copy = world.add_between(n1, 0, n2, 1), other = world.add_between(n1, 0, n2, 2);
  world.add_inner(n2, 1, 2);
  world.stage(n1, 0).set_output_pipe_bytes(99);  // of both
  world.stage(n2, 1).set_input_pipe_bytes(10);
  world.stage(n2, 2).set_input_pipe_bytes(10);  // likewise
  world.path(n1, 0, 1, {.in = 1000, .out = 500, .dropped = 300}, World::Counts{.in = 100, .out = 50, .dropped = 30});
  world.path(n1, 0, 2, {.in = 900, .out = 800});
  world.path(n2, 0, 2, {.in = 700, .out = 600}, World::Counts{.in = 70, .out = 60});
  world.path(n2, 1, 2, {.in = 50, .out = 40});
  world.end(n1, copy, false, 480);
  world.end(n2, copy, true, 450);
  world.end(n1, other, false, 790);
  world.end(n2, other, true, 710);
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 3);
  expect_counts(link_of(counters, 0, 1).bytes(), 1000, 440, 260);
  EXPECT_EQ(link_of(counters, 0, 1).bytes().dropped(), 300);
  expect_counts(link_of(counters, 0, 1).records(), 100, 50, 20);
  EXPECT_EQ(link_of(counters, 0, 1).records().dropped(), 30);
  expect_counts(link_of(counters, 0, 2).bytes(), 900, 600, 300);
  expect_counts(link_of(counters, 0, 2).records(), 70, 60, 10);
  expect_counts(link_of(counters, 1, 2).bytes(), 50, 40, 10);
}

TEST(CountersAssembly, ALinkFromStderrIsOneOfItsOwn) {
  World world;
  std::size_t n1 = world.add_graph_part("n1", {0, 1}), n2 = world.add_graph_part("n2", {2});
  world.add_inner(n1, 0, 1);
  world.add_inner(n1, 0, 1, true);
  std::size_t far = world.add_between(n1, 0, n2, 2, true);
  world.stage(n1, 0).set_io_write_bytes(77);
  world.stage(n1, 1);
  world.stage(n2, 2).set_input_pipe_bytes(1);
  world.path(n1, 0, 1, {.in = 10, .out = 10});
  world.path(n1, 0, 1, {.in = 20, .out = 20}).set_of_errors(true);
  world.path(n1, 0, 2, {.in = 20, .out = 20}).set_of_errors(true);
  world.end(n1, far, false, 18);
  world.end(n2, far, true, 15);
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 3);
  expect_counts(link_of(counters, 0, 1).bytes(), 10, 10, 0);
  expect_counts(link_of(counters, 0, 1, true).bytes(), 20, 20, 0);
  expect_counts(link_of(counters, 0, 2, true).bytes(), 20, 14, 6);
}

TEST(CountersAssembly, WhatSeveralWriteToStdoutIsCountedWhereItMeets) {
  World world;
  std::size_t client = world.add_graph_part("", {0}), n1 = world.add_graph_part("n1", {1});
  world.graph.parts[client].write_stdout = {0};
  flow::PartStream stream{.from = 1, .links = {0}};
  world.graph.links.push_back({.from = n1, .to = client});
  world.graph.parts[n1].outputs.push_back(stream);
  world.graph.parts[client].inputs.push_back(stream);
  world.stage(client, 0);
  world.stage(n1, 1).set_output_pipe_bytes(3);
  world.path(client, 0, std::nullopt, {.in = 10, .out = 8}, World::Counts{.in = 5, .out = 4});
  world.path(client, 1, std::nullopt, {.in = 20, .out = 18});
  world.end(n1, 0, false, 30);
  world.end(client, 0, true, 25);
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 2);
  expect_counts(link_of(counters, 0, -1).bytes(), 10, 8, 2);
  expect_counts(link_of(counters, 0, -1).records(), 5, 4, 1);
  expect_counts(link_of(counters, 1, -1).bytes(), 33, 18, 15);
}

TEST(CountersAssembly, AStageThatTellsItsRecordsApartOtherwiseCountsThemAlone) {
  World world;
  std::size_t part = world.add_graph_part("n1", {0, 1});
  world.add_inner(part, 0, 1);
  world.whole.stages.resize(2);
  world.whole.stages[1].words.framing = link::RecordFraming::json;
  world.stage(part, 0);
  fill(*world.stage(part, 1).mutable_records(), 3, 2, 0, 300);
  world.path(part, 0, 1, {.in = 400, .out = 350, .dropped = 40}, World::Counts{.in = 40, .out = 35, .dropped = 4});
  v1::FlowCounters counters = world.assembled();
  ASSERT_EQ(counters.links_size(), 1);
  expect_counts(counters.links(0).bytes(), 400, 300, 60);
  expect_counts(counters.links(0).records(), 3, 2, 1);
}

// Whatever the hosts have told, and whenever.
TEST(CountersAssembly, EveryLinkIsBalanced) {
  std::mt19937_64 random(3);
  auto some = [&] { return random() % 3 == 0 ? 0 : random() % 10'000; };
  for (int i = 0; i < 2000; ++i) {
    World world;
    std::size_t n1 = world.add_part("n1", {0, 1}), n2 = world.add_part("n2", {2, 3});
    std::size_t link = world.add_link(n1, n2);
    for (std::size_t part : {n1, n2})
      for (std::uint32_t from = 0; from < 4; ++from)
        for (std::uint32_t to = from + 1; to < 4; ++to)
          if (random() % 4 == 0)
            world.path(part, from, to, {some(), some(), some()}, World::Counts{some(), some(), some()});
    for (std::uint32_t index = 0; index < 4; ++index) {
      if (random() % 8 == 0) continue;
      v1::StageMoved& stage = world.stage(index < 2 ? n1 : n2, index);
      stage.set_io_read_bytes(some());
      stage.set_io_write_bytes(some());
      if (random() % 2) stage.set_input_pipe_bytes(some());
      if (random() % 2) stage.set_output_pipe_bytes(some());
      if (random() % 2) continue;
      fill(*stage.mutable_records(), 20'000 + some(), some(), some(), some());
      stage.mutable_records()->set_written_bytes(some());
    }
    if (random() % 4) world.end(n1, link, false, some());
    if (random() % 4) world.end(n2, link, true, some());
    v1::FlowCounters counters = world.assembled();
    auto is_balanced = [](const v1::LinkBalance& counts) {
      return counts.in() == counts.out() + counts.dropped() + counts.dead() + counts.in_flight();
    };
    for (const v1::LinkCounters& each : counters.links()) {
      EXPECT_TRUE(is_balanced(each.bytes()));
      EXPECT_TRUE(is_balanced(each.records()));
    }
  }
}

}  // namespace
}  // namespace sluice::node
