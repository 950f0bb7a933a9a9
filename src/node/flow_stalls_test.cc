#include "node/flow_stalls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <initializer_list>
#include <string>
#include <utility>

namespace sluice::node {
namespace {

using namespace std::chrono_literals;
using Kind = v1::WaitingParty::Kind;
using Others = std::initializer_list<std::pair<std::uint32_t, std::string>>;

constexpr TimePoint kStart = TimePoint(1h);
constexpr Kind kOne = v1::WaitingParty::KIND_ONE, kAll = v1::WaitingParty::KIND_ALL;

v1::WaitingParty& add(v1::Waits& waits, Kind kind, Others others) {
  v1::WaitingParty& party = *waits.add_parties();
  party.set_kind(kind);
  for (const auto& [index, why] : others) {
    v1::WaitingParty::Other& other = *party.add_others();
    other.set_party(index);
    other.set_why(why);
  }
  return party;
}

void add_nothing(v1::Waits& waits) { waits.add_parties(); }

// parser, which copies, and merger are on one host; facebook and twitter, whose answers it joins, each on another.
enum : std::size_t { kHome, kFacebook, kTwitter, kParts };

class FlowStallsTest : public testing::Test {
 protected:
  FlowStallsTest() {
    graph_.links = {{kHome, kFacebook}, {kHome, kTwitter}, {kFacebook, kHome}, {kTwitter, kHome}};
    graph_.parts.resize(kParts);
    graph_.parts[kHome] = {.host = {},
                           .stages = {0, 3},
                           .inputs = {{.from = 1, .to = 3, .links = {2}}, {.from = 2, .to = 3, .links = {3}}},
                           .outputs = {{.from = 0, .to = 1, .links = {0}}, {.from = 0, .to = 2, .links = {1}}}};
    for (std::size_t branch : {kFacebook, kTwitter})
      graph_.parts[branch] = {.host = {},
                              .stages = {branch},
                              .inputs = {{.from = 0, .to = branch, .links = {branch - 1}}},
                              .outputs = {{.from = branch, .to = 3, .links = {branch + 1}}}};
    v1::Waits& home = waits_[kHome];
    add_nothing(home);  // parser: a program
    v1::WaitingParty& merger = add(home, kOne, {{3, "merger holds 5 records of facebook and waits for twitter"}});
    merger.set_joins(true);
    merger.set_advice("raise the concurrency of merger");
    add(home, kOne, {{1, ""}});  // who reads what comes from facebook
    add(home, kOne, {{1, ""}});  // ... and from twitter
    add_nothing(home);           // what leads to facebook has records left
    add(home, kOne, {{6, ""}});  // who writes to twitter
    add(home, kAll, {{4, "parser waits for room in the link to facebook"}}).set_advice("let it spill");
    add(waits_[kFacebook], kOne, {{2, "facebook waits for merger"}});
    add(waits_[kTwitter], kOne, {{1, "twitter waits for parser"}});
    for (std::size_t branch : {kFacebook, kTwitter})
      for (int end = 0; end < 2; ++end) add(waits_[branch], kOne, {{0, ""}});
    set_bytes(kHome, {900'000, 70}, {999'000, 50});
    set_bytes(kFacebook, {980'000}, {1'000'000});
    set_bytes(kTwitter, {50}, {70});
  }

  void set_bytes(std::size_t part, std::vector<std::uint64_t> inputs, std::vector<std::uint64_t> outputs) {
    waits_[part].mutable_input_bytes()->Assign(inputs.begin(), inputs.end());
    waits_[part].mutable_output_bytes()->Assign(outputs.begin(), outputs.end());
  }

  v1::WaitingParty& party(std::size_t part, int index) { return *waits_[part].mutable_parties(index); }

  // All that is asked answers at once, each time as `change` leaves it.
  std::optional<std::string> look(const std::function<void(Duration)>& change = nullptr) {
    FlowStalls stalls(graph_, 10s);
    for (Duration waited = 0s; waited < 30s; waited += 1s) {
      if (change) change(waited);
      auto question = stalls.poll_question(kStart + waited);
      if (!question) continue;
      for (std::size_t part = 0; part < kParts; ++part) {
        if (silent_ == part || over_ == part) continue;
        waits_[part].set_number(question->ask_waits().number());
        stalls.on_answer(part, waits_[part]);
      }
      auto runs = [this](std::size_t part) { return part != over_; };
      if (auto found = stalls.poll_stall(runs, kStart + waited))
        return (found->stalled ? "" : "suspicion: ") + found->sentence;
    }
    return std::nullopt;
  }

  flow::PartGraph graph_;
  v1::Waits waits_[kParts];
  std::optional<std::size_t> silent_, over_;
};

TEST_F(FlowStallsTest, ACycleOverHostsIsToldAsOneOnAHostIs) {
  EXPECT_EQ(look(),
            "every stage waits for another since 10.0 s: parser waits for room in the link to facebook, facebook waits "
            "for merger, merger holds 5 records of facebook and waits for twitter, twitter waits for parser; raise the "
            "concurrency of merger, or let it spill");
}

TEST_F(FlowStallsTest, ASuspicionIsPassedOn) {
  party(kHome, 1).Clear();
  party(kHome, 1).set_suspicion("merger holds 5 records of facebook and 1 record of twitter");
  party(kHome, 1).set_advice("raise the concurrency of merger");
  EXPECT_EQ(look(),
            "suspicion: nothing has moved for 10.0 s: merger holds 5 records of facebook and 1 record of twitter, as "
            "many as it "
            "may; if it waits for their counterparts, raise the concurrency of merger");
}

TEST_F(FlowStallsTest, WhatIsOnItsWayOverALinkKeepsAllAlive) {
  set_bytes(kTwitter, {50}, {71});
  EXPECT_EQ(look(), std::nullopt) << "to merger";
  set_bytes(kTwitter, {49}, {70});
  EXPECT_EQ(look(), std::nullopt) << "to twitter";
}

TEST_F(FlowStallsTest, WhoeverMayGoOnByItselfKeepsTheOthersAlive) {
  const std::pair<const char*, std::function<void()>> kAlive[] = {
      {"facebook works", [&] { party(kFacebook, 0).Clear(); }},
      {"twitter works", [&] { party(kTwitter, 0).Clear(); }},
      {"merger works", [&] { party(kHome, 1).Clear(); }},
      {"the copy can go on", [&] { party(kHome, 6).Clear(); }},
      {"something is on its way to what leads to twitter", [&] { party(kHome, 5).Clear(); }},
      {"nobody knows who reads what comes from facebook", [&] { party(kHome, 2).Clear(); }},
  };
  const v1::Waits home = waits_[kHome], facebook = waits_[kFacebook], twitter = waits_[kTwitter];
  for (const auto& [what, change] : kAlive) {
    waits_[kHome] = home;
    waits_[kFacebook] = facebook;
    waits_[kTwitter] = twitter;
    change();
    EXPECT_EQ(look(), std::nullopt) << what;
  }
}

TEST_F(FlowStallsTest, ThatRecordsMoveBetweenTwoLooksBeginsThePatienceAnew) {
  EXPECT_EQ(look([&](Duration waited) { party(kTwitter, 0).set_moved(static_cast<std::uint64_t>(waited / 5s)); }),
            std::nullopt);
}

TEST_F(FlowStallsTest, APartThatDoesNotAnswerIsNotJudged) {
  silent_ = kTwitter;
  EXPECT_EQ(look(), std::nullopt);
}

TEST_F(FlowStallsTest, APartThatIsOverKeepsNobodyWaiting) {
  EXPECT_EQ(look([&](Duration waited) {
              if (waited == 3s) over_ = kTwitter;
            }),
            std::nullopt);
  over_ = kFacebook;  // from the start
  EXPECT_EQ(look(), std::nullopt);
}

TEST_F(FlowStallsTest, AStreamOfSeveralLinksIsOneThatCanGoOn) {
  graph_.parts[kTwitter].outputs[0].links = {3, 2};
  EXPECT_EQ(look(), std::nullopt);
}

TEST_F(FlowStallsTest, WhatAPartCanNotMeanIsNoReasonToEndTheFlow) {
  const v1::Waits home = waits_[kHome], twitter = waits_[kTwitter];
  for (std::uint32_t index : {7u, 99u, 0xffffffffu}) {
    waits_[kHome] = home;
    party(kHome, 1).mutable_others(0)->set_party(index);
    EXPECT_EQ(look(), std::nullopt) << index;
    waits_[kHome] = home;
    party(kHome, 5).mutable_others(0)->set_party(index);
    EXPECT_EQ(look(), std::nullopt) << index;
  }
  waits_[kHome] = home;
  party(kHome, 5).mutable_others(0)->set_party(4);  // a stream that waits for a stream
  EXPECT_EQ(look(), std::nullopt);
  waits_[kHome] = home;
  waits_[kTwitter].clear_output_bytes();
  EXPECT_EQ(look(), std::nullopt);
  waits_[kTwitter] = twitter;
  waits_[kTwitter].mutable_parties()->DeleteSubrange(1, 2);
  EXPECT_EQ(look(), std::nullopt);
}

TEST_F(FlowStallsTest, AnAnswerOfAnotherSizeThanBeforeIsNone) {
  const v1::Waits twitter = waits_[kTwitter];
  EXPECT_EQ(look([&](Duration waited) {
              waits_[kTwitter] = twitter;
              if (waited >= 5s) add_nothing(waits_[kTwitter]);
            }),
            std::nullopt);
}

TEST_F(FlowStallsTest, AsksTenTimesWithinThePatienceAndWaitsForTheAnswersASecondAtMost) {
  FlowStalls stalls(graph_, 2s);
  auto number = [&](Duration at) -> std::uint64_t {
    auto question = stalls.poll_question(kStart + at);
    return question ? question->ask_waits().number() : 0;
  };
  EXPECT_EQ(number(0s), 1u);
  EXPECT_EQ(stalls.poll_deadline(), kStart + 200ms);
  EXPECT_EQ(number(100ms), 0u) << "it is not due";
  EXPECT_EQ(number(200ms), 0u) << "not all have answered";
  EXPECT_EQ(number(900ms), 0u);
  EXPECT_EQ(number(1100ms), 2u) << "the answer may have been lost";
}

TEST_F(FlowStallsTest, SeatsAreNotAsked) {
  graph_.parts.push_back({.host = {}, .stages = {}, .seats_of = 1});
  FlowStalls stalls(graph_, 2s);
  EXPECT_TRUE(stalls.is_asked(kTwitter));
  EXPECT_FALSE(stalls.is_asked(kParts)) << "seats of a stage";
  EXPECT_FALSE(stalls.is_asked(kParts + 1)) << "who joined later";
  EXPECT_NE(look(), std::nullopt);
}

TEST(CanStall, OnlyAFlowOfWhichAStageOfWorkersHasSeveralLinks) {
  flow::FlowGraph graph;
  graph.stages.resize(3);
  graph.stages[2].words.worker = true;
  graph.links = {{0, 2}, {1, 2}};
  EXPECT_TRUE(can_stall(graph));
  graph.stages[2].words.worker = false;
  graph.stages[1].words.worker = true;
  EXPECT_FALSE(can_stall(graph));
}

}  // namespace
}  // namespace sluice::node
