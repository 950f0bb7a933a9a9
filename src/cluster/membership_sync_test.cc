#include "cluster/membership_sync.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include <set>

#include "cluster/node_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

AnnouncementRef announce(std::uint64_t number, std::uint64_t incarnation = 1) {
  return make_announcement(node(number), {incarnation, 1},
                           {.name = fmt::format("n{}", number), .endpoint = {"10.0.0.1", 7117}});
}

MembershipTable table_of(std::uint64_t from, std::uint64_t to) {
  MembershipTable table(announce(from));
  for (std::uint64_t i = from; i < to; ++i) table.put_present(announce(i));
  return table;
}

GoneMember dead_at(std::uint64_t incarnation) { return {.revision = {incarnation, 1}, .state = MemberState::dead}; }

SummaryRange whole_ring(std::vector<SummaryEntry> entries) {
  return {.first = 0, .last = ~std::uint64_t{0}, .entries = std::move(entries)};
}

/// One exchange, begun by `one`, in which nothing is lost: what each side would be told.
struct Exchange {
  std::set<NodeId> told_to_one, told_to_other;
};
Exchange exchange(const MembershipTable& one, const MembershipTable& other, std::size_t datagrams_max = 100) {
  SeededRandom random(1);
  Exchange result;
  for (const Summary& summary : summarize_differences(other, 0, make_digest(one, 0), datagrams_max, random)) {
    EXPECT_LE(GossipWriter(summary).take().size(), kGossipPayloadMax);
    Comparison comparison = compare(one, summary);
    result.told_to_one.insert(comparison.wanted.begin(), comparison.wanted.end());
    result.told_to_other.insert(comparison.offered.begin(), comparison.offered.end());
  }
  return result;
}

TEST(MembershipSync, EqualListsHaveNothingToSay) {
  Exchange result = exchange(table_of(0, 500), table_of(0, 500));
  EXPECT_THAT(result.told_to_one, IsEmpty());
  EXPECT_THAT(result.told_to_other, IsEmpty());
}

TEST(MembershipSync, EachSideHearsExactlyWhatItLacks) {
  MembershipTable one = table_of(0, 500);
  MembershipTable other = table_of(0, 500);
  one.put_present(announce(7, 2));
  one.put_present(announce(600));
  other.put_present(announce(8, 2));
  other.put_present(announce(700));
  other.put_gone(node(9), dead_at(1));
  Exchange result = exchange(one, other);
  EXPECT_THAT(result.told_to_other, testing::UnorderedElementsAre(node(7), node(600)));
  EXPECT_THAT(result.told_to_one, testing::UnorderedElementsAre(node(8), node(700), node(9)));
}

TEST(MembershipSync, RandomListsBecomeOneInBoundedExchanges) {
  SeededRandom random(3);
  for (int run = 0; run < 20; ++run) {
    std::uint64_t size = 1 + random.below(400);
    MembershipTable one(announce(0)), other(announce(0));
    for (std::uint64_t i = 1; i <= size; ++i) {
      if (random.below(4) > 0) one.put_present(announce(i, 1 + random.below(3)));
      if (random.below(4) > 0) other.put_present(announce(i, 1 + random.below(3)));
    }
    int exchanges = 0;
    for (; one.sum() != other.sum() && exchanges < 100; ++exchanges) {
      Exchange told = exchange(one, other, 4);
      for (const NodeId& id : told.told_to_one) one.put_present(AnnouncementRef(other.find_present(id)->announcement));
      for (const NodeId& id : told.told_to_other)
        other.put_present(AnnouncementRef(one.find_present(id)->announcement));
    }
    EXPECT_EQ(one.sum(), other.sum()) << size;
    EXPECT_LT(exchanges, 12) << size;
  }
}

TEST(MembershipSync, WhatIsSharedBesideTheMembersShowsInTheDigest) {
  MembershipTable table = table_of(0, 3);
  EXPECT_NE(state_digest(table, 0), state_digest(table, 1));
  SeededRandom random(1);
  std::vector<Summary> answer = summarize_differences(table, 5, make_digest(table, 4), 4, random);
  ASSERT_THAT(answer, SizeIs(1));
  EXPECT_EQ(answer[0].shared, 5U);
  EXPECT_THAT(answer[0].ranges, IsEmpty());
}

TEST(MembershipSync, OfEqualRevisionsDeadIsLaterThanAliveAndLeftThanDead) {
  MembershipTable table = table_of(0, 4);
  table.put_gone(node(2), dead_at(1));
  Revision first{1, 1};
  Summary theirs{.ranges = {whole_ring({{node(0), first, MemberState::alive},
                                        {node(1), first, MemberState::dead},
                                        {node(2), first, MemberState::alive},
                                        {node(3), first, MemberState::left}})}};
  Comparison result = compare(table, theirs);
  EXPECT_THAT(result.wanted, testing::UnorderedElementsAre(node(1), node(3)));
  EXPECT_THAT(result.offered, ElementsAre(node(2)));
}

TEST(MembershipSync, TheDeadOfOthersAreNotAskedFor) {
  MembershipTable table = table_of(0, 1);
  Summary theirs{.ranges = {whole_ring({{node(0), {1, 1}, MemberState::alive}, {node(9), {1, 1}, MemberState::dead}})}};
  EXPECT_THAT(compare(table, theirs).wanted, IsEmpty());
}

TEST(MembershipSync, WhatWasLostUnspokenIsAskedForAndNotTold) {
  MembershipTable table = table_of(0, 2);
  table.put_all_gone({.state = MemberState::dead, .unspoken = true});
  Summary theirs{
      .ranges = {whole_ring({{node(0), {1, 1}, MemberState::alive}, {node(1), {1, 1}, MemberState::alive}})}};
  Comparison result = compare(table, theirs);
  EXPECT_THAT(result.wanted, ElementsAre(node(1)));
  EXPECT_THAT(result.offered, IsEmpty());
  EXPECT_FALSE(encode_knowledge(table, node(1)));
}

// --- taking a whole list ------------------------------------------------------------------------------------------

class MembershipPullTest : public testing::Test {
 protected:
  /// What the source answers to a question.
  std::vector<GossipMessage> burst(std::uint64_t position) {
    payloads_ = encode_burst(source_, position, {}, options_.pull_datagrams_max);
    std::vector<GossipMessage> messages;
    for (const std::string& payload : payloads_) messages.push_back(*decode_gossip(payload));
    return messages;
  }
  bool take(const GossipMessage& message, TimePoint now) {
    for (const Update& update : message.updates) got_.insert(std::get<AnnouncementView>(update).id);
    return pull_.on_records(node(0), std::get<Records>(message.body), now);
  }

  MembershipOptions options_;
  MembershipTable source_ = table_of(0, 1000);
  MembershipPull pull_{options_};
  std::set<NodeId> got_;
  std::vector<std::string> payloads_;
  TimePoint now_{1h};
};

TEST_F(MembershipPullTest, TakesAThousandInBoundedBursts) {
  pull_.start(node(0), {}, now_);
  int bursts = 0;
  while (pull_.active()) {
    ++bursts;
    std::vector<GossipMessage> messages = burst(pull_.next().position);
    EXPECT_LE(messages.size(), options_.pull_datagrams_max);
    for (const GossipMessage& message : messages) take(message, now_);
  }
  EXPECT_EQ(got_.size(), 1000U);
  EXPECT_LT(bursts, 10);
}

TEST_F(MembershipPullTest, LossAndDisorderOnlyCostTime) {
  SeededRandom random(1);
  pull_.start(node(0), {}, now_);
  for (int question = 0; pull_.active() && question < 1000; ++question) {
    std::vector<GossipMessage> messages = burst(pull_.next().position);
    std::shuffle(messages.begin(), messages.end(), random);
    bool next = false;
    for (const GossipMessage& message : messages)
      if (random.below(4) > 0) next = take(message, now_) || next;
    if (next) continue;
    now_ += options_.pull_timeout;
    if (pull_.active()) {
      EXPECT_TRUE(pull_.on_deadline(now_));
    }
  }
  EXPECT_FALSE(pull_.active());
  EXPECT_EQ(got_.size(), 1000U);
}

TEST_F(MembershipPullTest, ASourceThatFallsSilentIsGivenUp) {
  pull_.start(node(0), {}, now_);
  unsigned asked = 0;
  while (pull_.active() && asked < 100) {
    now_ = *pull_.deadline();
    if (pull_.on_deadline(now_)) ++asked;
  }
  EXPECT_EQ(asked, options_.pull_tries - 1);
}

TEST_F(MembershipPullTest, OnlyTheSourceIsListenedTo) {
  pull_.start(node(0), {}, now_);
  EXPECT_FALSE(
      pull_.on_records(node(5), {.first = 0, .last = ~std::uint64_t{0}, .ranged = true, .ends_list = true}, now_));
  EXPECT_TRUE(pull_.active());
}

TEST_F(MembershipPullTest, ARangeThatWrapsAroundEndsTheList) {
  pull_.start(node(0), {}, now_);
  EXPECT_FALSE(
      pull_.on_records(node(0), {.first = 0, .last = ~std::uint64_t{0}, .ranged = true, .ends_burst = true}, now_));
  EXPECT_FALSE(pull_.active());
}

}  // namespace
}  // namespace sluice::cluster
