#include "node/flow_news.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "node/layout_for_test.h"
#include "sluice/v1/flows.pb.h"

namespace sluice::node {
namespace {

class Client final : public FlowClient {
 public:
  void send(v1::RunOutput output) override { heard.push_back(std::move(output)); }
  bool crowded() const override { return is_crowded; }
  net::Awaitable<void> room() override { co_return; }

  std::vector<v1::RunOutput> heard;
  bool is_crowded = false;
};

// `uname` on every node: its part 0 is on n1, part 1 on n2.
v1::RunStart everywhere() {
  v1::RunStart start;
  start.set_pipefail("lenient");
  LaidOutFlow::add_stage(start, "uname").mutable_where()->set_kind(v1::Whereabouts::KIND_EVERY_NODE);
  return start;
}

// `uname` on n2 alone.
v1::RunStart on_n2() {
  v1::RunStart start;
  start.set_pipefail("lenient");
  v1::Whereabouts& where = *LaidOutFlow::add_stage(start, "uname").mutable_where();
  where.set_kind(v1::Whereabouts::KIND_NODE);
  where.set_node("n2");
  return start;
}

struct World {
  explicit World(v1::RunStart start) : flow(std::move(start)) {}

  void write_errors(std::size_t part, const std::string& bytes) {
    v1::ErrorOutput errors;
    errors.set_bytes(bytes);
    news.tell_errors(part, errors);
  }
  std::string last_errors() const { return client.heard.empty() ? "" : client.heard.back().error_output().bytes(); }

  LaidOutFlow flow;
  Client client;
  Logger log{{.level = LogLevel::error}};
  FlowNews news{&client, flow.layout, FlowId(), log};
};

TEST(FlowNews, ThePlanIsToldOnce) {
  World world(everywhere());
  world.news.tell_plan(FlowId());
  world.news.tell_plan(FlowId());
  ASSERT_EQ(world.client.heard.size(), 1u);
  EXPECT_EQ(world.client.heard[0].plan().stages_size(), 1);
}

TEST(FlowNews, WhatBecomesOfAStageIsToldWithItsHost) {
  World world(everywhere());
  world.news.tell_started(1, 0, 4711);
  v1::Exited exited;
  exited.set_wait_status(3 << 8);
  world.news.tell_exited(1, 4711, exited);
  ASSERT_EQ(world.client.heard.size(), 2u);
  EXPECT_EQ(world.client.heard[0].stage().host(), "n2");
  EXPECT_EQ(world.client.heard[0].stage().pid(), 4711);
  EXPECT_FALSE(world.client.heard[0].stage().has_exited());
  EXPECT_EQ(world.client.heard[1].stage().host(), "n2");
  EXPECT_EQ(world.client.heard[1].stage().pid(), 4711);
  EXPECT_EQ(world.client.heard[1].stage().exited().wait_status(), 3 << 8);
}

TEST(FlowNews, AClientThatWasLostHearsNothing) {
  World world(everywhere());
  world.news.note("it is there");
  world.news.on_client_lost();
  EXPECT_TRUE(world.news.has_client()) << "it is no flow in the background for that";
  EXPECT_TRUE(world.news.has_lost_client());
  world.news.note("it is gone");
  ASSERT_EQ(world.client.heard.size(), 1u);
  EXPECT_EQ(world.client.heard[0].note(), "it is there");
}

TEST(FlowNews, AFlowInTheBackgroundTellsNobodyAndItsNotesAreLogged) {
  LaidOutFlow flow(everywhere(), false);
  testing::internal::CaptureStderr();
  Logger log({.level = LogLevel::warn});
  FlowNews news(nullptr, flow.layout, FlowId(), log);
  EXPECT_FALSE(news.has_client());
  EXPECT_FALSE(news.crowded());
  news.note("who hears it?");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("who hears it?"));
  news.tell_moved(0, {});
  news.tell_end({});
}

TEST(FlowNews, WhatPartsMoveIsLeftOutWhileMuchElseWaits) {
  World world(everywhere());
  world.client.is_crowded = true;
  world.news.tell_moved(0, {});
  EXPECT_TRUE(world.client.heard.empty());
  world.news.note("this is not");
  world.client.is_crowded = false;
  world.news.tell_moved(1, {});
  ASSERT_EQ(world.client.heard.size(), 2u);
  EXPECT_EQ(world.client.heard[1].moved().part(), 1u);
}

TEST(FlowNews, ALineOfOneNodeIsNotDividedByThoseOfOthers) {
  World world(everywhere());
  world.write_errors(0, "no such ");
  EXPECT_TRUE(world.client.heard.empty());
  world.write_errors(1, "denied\n");
  EXPECT_EQ(world.last_errors(), "n2: denied\n");
  world.write_errors(0, "file\nand");
  EXPECT_EQ(world.last_errors(), "n1: no such file\n");
  world.news.tell_last_line(0);
  EXPECT_EQ(world.last_errors(), "n1: and\n");
  world.news.tell_last_line(0);
  world.news.tell_last_line(1);
  EXPECT_EQ(world.client.heard.size(), 3u);
}

TEST(FlowNews, WhatOneNodeAloneWritesGoesOnAsItComes) {
  World world(on_n2());
  world.write_errors(0, "no such ");
  EXPECT_EQ(world.last_errors(), "no such ");
  world.news.tell_last_line(0);
  EXPECT_EQ(world.client.heard.size(), 1u);
}

TEST(FlowNews, OfAFlowInTheBackgroundTheLastNotesAreKept) {
  World world(on_n2());
  FlowNews news(nullptr, world.flow.layout, FlowId(), world.log);
  for (std::size_t i = 0; i < FlowNews::kNotesKept + 2; ++i) news.note("note " + std::to_string(i));
  EXPECT_EQ(news.last_notes().size(), FlowNews::kNotesKept);
  EXPECT_EQ(news.last_notes().front(), "note 2");
  EXPECT_EQ(news.last_notes().back(), "note " + std::to_string(FlowNews::kNotesKept + 1));
}

TEST(FlowNews, AClientIsToldAndNothingIsKept) {
  World world(on_n2());
  world.news.note("n1 was lost");
  EXPECT_EQ(world.client.heard.back().note(), "n1 was lost");
  EXPECT_TRUE(world.news.last_notes().empty());
}

}  // namespace
}  // namespace sluice::node
