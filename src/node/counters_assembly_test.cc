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

// Whatever the hosts have told, and whenever.
TEST(CountersAssembly, EveryLinkIsBalanced) {
  std::mt19937_64 random(3);
  auto some = [&] { return random() % 3 == 0 ? 0 : random() % 10'000; };
  for (int i = 0; i < 2000; ++i) {
    World world;
    std::size_t n1 = world.add_part("n1", {0, 1}), n2 = world.add_part("n2", {2, 3});
    std::size_t link = world.add_link(n1, n2);
    for (std::uint32_t index = 0; index < 4; ++index) {
      if (random() % 8 == 0) continue;
      v1::StageMoved& stage = world.stage(index < 2 ? n1 : n2, index);
      stage.set_io_read_bytes(some());
      stage.set_io_write_bytes(some());
      if (random() % 2) stage.set_input_pipe_bytes(some());
      if (random() % 2) stage.set_output_pipe_bytes(some());
      if (random() % 2) continue;
      stage.mutable_records()->set_read_bytes(some());
      stage.mutable_records()->set_written_bytes(some());
    }
    if (random() % 4) world.end(n1, link, false, some());
    if (random() % 4) world.end(n2, link, true, some());
    v1::FlowCounters counters = world.assembled();
    for (const v1::LinkCounters& each : counters.links()) {
      const v1::LinkBalance& bytes = each.bytes();
      EXPECT_EQ(bytes.in(), bytes.out() + bytes.dropped() + bytes.dead() + bytes.in_flight());
    }
  }
}

}  // namespace
}  // namespace sluice::node
