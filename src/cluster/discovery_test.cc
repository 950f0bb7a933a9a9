#include "cluster/discovery.h"

#include <gmock/gmock.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/node_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

const TimePoint kStart{1h};
constexpr BootNumber kBoot{std::uint64_t{100} << 24};
const net::Endpoint kClient{"10.0.0.99", 40000};

Profile profile(std::uint8_t number, std::string address = "") {
  if (address.empty()) address = "10.0.0." + std::to_string(number);
  return {.name = "n" + std::to_string(number), .endpoint = {address, 7117}, .labels = {}, .version = "0.1.0"};
}

class FakeCompany final : public Company {
 public:
  std::size_t size() const override { return strangers + 1 + members.size(); }
  bool contains(const NodeId& id, BootNumber boot) const override {
    auto found = members.find(id);
    return found != members.end() && found->second >= boot;
  }

  std::map<NodeId, BootNumber> members;
  std::size_t strangers = 0;  // members of whom nothing but their number matters
};

class DiscoveryTest : public testing::Test {
 protected:
  void announce(std::uint8_t number, std::string address = "", BootNumber boot = kBoot) {
    tell(node(number), DiscoveryAnnouncement{.question = 0, .profile = profile(number, address)}, boot);
  }

  void ask(std::uint64_t question, std::uint8_t attempt = 0) {
    tell(NodeId::random(), DiscoveryQuery{.question = question, .attempt = attempt}, BootNumber::passer_by());
  }

  void tell(const NodeId& id, const DiscoveryMessage& message, BootNumber boot) {
    machine().on_datagram({.id = id, .boot = boot, .from = kClient}, encode_discovery(message), now_);
  }

  Discovery& machine() {
    if (!machine_) machine_.emplace(options_, profile(1), company_, 1, kStart);
    return *machine_;
  }

  // Until then, at each deadline.
  void run_until(TimePoint end) {
    while (*machine().poll_deadline() <= end) {
      now_ = std::max(now_, *machine().poll_deadline());
      machine().on_deadline(now_);
      drain();
    }
    drain();
    now_ = end;
  }
  void drain() {
    while (auto datagram = machine().poll_datagram()) note(*datagram);
    while (auto seed = machine().poll_seed()) seeds_.push_back(*seed);
  }
  void run(Duration duration) { run_until(now_ + duration); }

  void note(const Discovery::Outgoing& datagram) {
    auto message = decode_discovery(datagram.payload);
    ASSERT_TRUE(message);
    const auto& announcement = std::get<DiscoveryAnnouncement>(*message);
    EXPECT_EQ(announcement.profile, profile(1));
    if (datagram.to) {
      EXPECT_EQ(*datagram.to, kClient);
      answered_.push_back(announcement.question);
    } else {
      EXPECT_EQ(announcement.question, 0);
      announced_.push_back(now_ - kStart);
    }
  }

  DiscoveryOptions options_;
  FakeCompany company_;
  std::optional<Discovery> machine_;
  TimePoint now_ = kStart;
  std::vector<Duration> announced_;
  std::vector<std::uint64_t> answered_;
  std::vector<net::Endpoint> seeds_;
};

// --- announcing ---------------------------------------------------------------------------------------------------

TEST_F(DiscoveryTest, AloneItAnnouncesItselfAtOnceAndLessAndLessOften) {
  run(15s);
  EXPECT_THAT(announced_, ElementsAre(0ms, 500ms, 1500ms, 3500ms, 7500ms));
  run(10min);
  EXPECT_GE(announced_.size(), 5 + 600 / 20);
  EXPECT_LE(announced_.size(), 6 + 600 / 10);
}

TEST_F(DiscoveryTest, InCompanyItAnnouncesItselfOnceAndThenRarely) {
  company_.strangers = 5;
  run(10s);
  EXPECT_THAT(announced_, ElementsAre(0ms));
  run(10min);
  EXPECT_LE(announced_.size(), 1 + 610 / 10);
  EXPECT_GE(announced_.size(), 610 / 20);
}

TEST_F(DiscoveryTest, ItIsSilentWhileAnotherMemberSpeaks) {
  company_.members[node(2)] = kBoot;
  run(1s);
  for (int i = 0; i < 100; ++i) {
    announce(2);
    run(9s);
  }
  EXPECT_EQ(announced_.size(), 1);
  EXPECT_THAT(seeds_, IsEmpty());
  run(20s);
  EXPECT_GE(announced_.size(), 2) << "the other is gone";
}

TEST_F(DiscoveryTest, AStrangerDoesNotSilenceIt) {
  company_.strangers = 5;
  run(1s);
  for (int i = 0; i < 10; ++i) {
    announce(2);
    run(9s);
  }
  EXPECT_GE(announced_.size(), 1 + 90 / 20);
}

// --- hearing ------------------------------------------------------------------------------------------------------

TEST_F(DiscoveryTest, WhoIsHeardBecomesASeed) {
  announce(2);
  run(0s);
  EXPECT_THAT(seeds_, ElementsAre(profile(2).endpoint));
}

TEST_F(DiscoveryTest, WhoHasBecomeAMemberMeanwhileIsNoSeed) {
  company_.strangers = 999;
  announce(2);
  ASSERT_FALSE(machine().poll_seed());
  company_.members[node(2)] = kBoot;
  run(options_.seed_spread_max);
  EXPECT_THAT(seeds_, IsEmpty());
}

TEST_F(DiscoveryTest, InALargeClusterEachWaitsForATimeOfItsOwn) {
  std::vector<Duration> waits;
  FakeCompany company;
  company.strangers = 999;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Discovery machine(options_, profile(1), company, seed, kStart);
    machine.on_deadline(kStart);  // announces itself
    machine.on_datagram({.id = node(2), .boot = kBoot, .from = kClient},
                        encode_discovery(DiscoveryAnnouncement{.question = 0, .profile = profile(2)}), kStart);
    waits.push_back(*machine.poll_deadline() - kStart);
  }
  EXPECT_LE(std::ranges::max(waits), 1s);
  EXPECT_LE(std::ranges::count_if(waits, [](Duration wait) { return wait < 100ms; }), 40) << "some 20 are expected";
}

TEST_F(DiscoveryTest, ANodeThatWasRestartedIsAskedAgain) {
  company_.members[node(2)] = kBoot;
  announce(2, "", BootNumber{kBoot.value + (1 << 24)});
  run(1s);
  EXPECT_THAT(seeds_, ElementsAre(profile(2).endpoint));
}

TEST_F(DiscoveryTest, APasserByIsNotBelieved) {
  announce(2, "", BootNumber::passer_by());
  run(1s);
  EXPECT_THAT(seeds_, IsEmpty());
  EXPECT_EQ(machine().dropped().malformed, 1);
}

TEST_F(DiscoveryTest, AnotherHostsLoopbackIsOutOfReach) {
  announce(2, "127.0.0.1");
  run(1s);
  EXPECT_THAT(seeds_, IsEmpty());
  EXPECT_EQ(machine().dropped().out_of_reach, 1);
}

TEST_F(DiscoveryTest, AnAnswerToAnotherIsNoNews) {
  tell(node(2), DiscoveryAnnouncement{.question = 5, .profile = profile(2)}, kBoot);
  run(1s);
  EXPECT_THAT(seeds_, IsEmpty());
}

TEST_F(DiscoveryTest, NodesThatWaitAreBounded) {
  company_.strangers = 100'000;
  for (int i = 0; i < 1000; ++i)
    tell(NodeId::random(), DiscoveryAnnouncement{.question = 0, .profile = profile(2)}, kBoot);
  run(options_.seed_spread_max);
  EXPECT_EQ(seeds_.size(), options_.seeds_pending_max);
  EXPECT_EQ(machine().dropped().too_many, 1000 - options_.seeds_pending_max);
}

// --- answering ----------------------------------------------------------------------------------------------------

TEST_F(DiscoveryTest, AloneItAnswersAtOnce) {
  ask(77);
  run(0s);
  EXPECT_THAT(answered_, ElementsAre(77));
}

TEST_F(DiscoveryTest, AboutEightOfAThousandAnswerAndEachAtATimeOfItsOwn) {
  company_.strangers = 999;
  std::size_t answers = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    Discovery machine(options_, profile(1), company_, seed, kStart);
    machine.on_deadline(kStart);
    while (machine.poll_datagram()) {
    }
    machine.on_datagram({.id = node(9), .boot = BootNumber::passer_by(), .from = kClient},
                        encode_discovery(DiscoveryQuery{.question = 1, .attempt = 0}), kStart);
    machine.on_deadline(kStart + 100ms);
    answers += machine.poll_datagram() ? 1 : 0;
  }
  EXPECT_GE(answers, 1);
  EXPECT_LE(answers, 25);
}

TEST_F(DiscoveryTest, AQuestionThatIsAskedAgainIsAnsweredByMoreAndAtLastByAll) {
  company_.strangers = 999;
  ask(5, 4);
  ask(6, 255);
  run(1s);
  EXPECT_THAT(answered_, testing::UnorderedElementsAre(5, 6));
}

TEST_F(DiscoveryTest, AnswersAreLimited) {
  for (std::uint64_t i = 1; i <= 1000; ++i) ask(i);
  run(0s);
  EXPECT_EQ(answered_.size(), options_.answers_burst);
  EXPECT_EQ(machine().dropped().too_many, 1000 - options_.answers_burst);
  for (int i = 0; i <= 10'000; ++i) {
    ask(1);
    run(1ms);
  }
  EXPECT_EQ(answered_.size(), options_.answers_burst + 10s / options_.answer_refill);
  run(1h);
  answered_.clear();
  for (std::uint64_t i = 1; i <= 1000; ++i) ask(i);
  run(0s);
  EXPECT_EQ(answered_.size(), options_.answers_burst) << "saving up has a limit";
}

TEST_F(DiscoveryTest, WhatIsNoMessageIsCounted) {
  machine().on_datagram({.id = node(2), .boot = kBoot, .from = kClient}, "?", now_);
  machine().on_datagram({.id = node(2), .boot = kBoot, .from = kClient}, "", now_);
  EXPECT_EQ(machine().dropped().malformed, 2);
}

}  // namespace
}  // namespace sluice::cluster
