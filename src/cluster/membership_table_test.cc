#include "cluster/membership_table.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "cluster/node_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;

AnnouncementRef announce(std::uint64_t number, std::uint64_t incarnation = 1, std::string name = "") {
  if (name.empty()) name = fmt::format("n{}", number);
  return make_announcement(node(number), {incarnation, 1}, {.name = name, .endpoint = {"10.0.0.1", 7117}});
}

MembershipTable table_of(std::uint64_t count) {
  MembershipTable table(announce(0));
  for (std::uint64_t i = 1; i < count; ++i) table.put_present(announce(i));
  return table;
}

const GoneMember kDead{.since = TimePoint{1h}, .state = MemberState::dead};
constexpr MembershipTable::Memory kMemory{.dead = 24h, .left = 1h, .gone_max = 3};

TEST(MembershipTable, WeAreAlwaysPresent) {
  MembershipTable table(announce(0));
  EXPECT_NE(table.find_present(node(0)), nullptr);
  EXPECT_THAT(table.successors(3), IsEmpty());
  SeededRandom random(1);
  EXPECT_THAT(table.pick(3, random), IsEmpty());
}

TEST(MembershipTable, EqualListsHaveEqualSumsWhateverTheirHistory) {
  MembershipTable one = table_of(10);
  MembershipTable other(announce(0));
  for (std::uint64_t i = 20; i > 0; --i) other.put_present(announce(i));
  EXPECT_NE(one.sum(), other.sum());
  for (std::uint64_t i = 10; i <= 20; ++i) other.put_gone(node(i), kDead);
  EXPECT_EQ(one.sum(), other.sum());
  EXPECT_EQ(one.sums(7), other.sums(7));
  other.put_present(announce(3, 2));
  EXPECT_NE(one.sum(), other.sum());
}

TEST(MembershipTable, AChangeShowsInTheSumOfItsPartOnly) {
  MembershipTable before = table_of(100);
  MembershipTable after = table_of(100);
  after.put_present(announce(50, 2));
  for (unsigned bits = 0; bits <= kDigestBitsMax; ++bits) {
    std::size_t different = 0;
    for (std::size_t i = 0; i < std::size_t{1} << bits; ++i)
      different += before.sums(bits)[i] != after.sums(bits)[i] ? 1U : 0U;
    EXPECT_EQ(different, 1U) << bits;
  }
}

TEST(MembershipTable, EverybodyIsWatchedByExactlyThree) {
  std::map<NodeId, int> watchers;
  for (std::uint64_t self = 0; self < 50; ++self) {
    MembershipTable table(announce(self));
    for (std::uint64_t i = 0; i < 50; ++i) table.put_present(announce(i));
    for (const NodeId& watched : table.successors(3)) ++watchers[watched];
  }
  EXPECT_EQ(watchers.size(), 50U);
  for (const auto& [id, count] : watchers) EXPECT_EQ(count, 3);
}

TEST(MembershipTable, PicksDifferentOnesAndNeverUs) {
  MembershipTable table = table_of(6);
  SeededRandom random(1);
  std::map<NodeId, int> picks;
  for (int i = 0; i < 300; ++i) {
    std::set<NodeId> picked;
    for (const PresentMember* member : table.pick(3, random)) picked.insert(member->id());
    EXPECT_EQ(picked.size(), 3U);
    for (const NodeId& id : picked) ++picks[id];
  }
  EXPECT_EQ(picks.size(), 5U);
  for (const auto& [id, count] : picks) EXPECT_GT(count, 100);
  EXPECT_EQ(table.pick(9, random).size(), 5U);
  auto none = [](const PresentMember&) { return false; };
  EXPECT_THAT(table.pick(3, random, none), IsEmpty());
}

TEST(MembershipTable, TheGoneAreRememberedForAWhile) {
  MembershipTable table = table_of(3);
  table.put_gone(node(1), kDead);
  table.put_gone(node(2), {.since = TimePoint{1h}, .state = MemberState::left});
  table.forget_gone(kMemory, TimePoint{1h} + 59min);
  EXPECT_EQ(table.gone().size(), 2U);
  table.forget_gone(kMemory, TimePoint{1h} + 1h);
  EXPECT_EQ(table.find_gone(node(2)), nullptr);
  EXPECT_NE(table.find_gone(node(1)), nullptr);
  table.forget_gone(kMemory, TimePoint{1h} + 24h);
  EXPECT_THAT(table.gone(), IsEmpty());
}

TEST(MembershipTable, OfTooManyGoneTheOldestAreForgotten) {
  MembershipTable table = table_of(6);
  for (std::uint64_t i = 1; i < 6; ++i) {
    GoneMember verdict = kDead;
    verdict.since += std::chrono::seconds(i);
    table.put_gone(node(i), verdict);
  }
  table.forget_gone(kMemory, TimePoint{1h} + 10s);
  EXPECT_EQ(table.gone().size(), 3U);
  EXPECT_EQ(table.find_gone(node(2)), nullptr);
  EXPECT_NE(table.find_gone(node(3)), nullptr);
}

TEST(MembershipTable, LosingEverybodyLeavesUs) {
  MembershipTable table = table_of(20);
  table.put_gone(node(7), kDead);
  std::uint64_t alone = MembershipTable(announce(0)).sum();
  table.put_all_gone({.state = MemberState::dead, .unspoken = true});
  EXPECT_EQ(table.present().size(), 1U);
  EXPECT_EQ(table.gone().size(), 19U);
  EXPECT_EQ(table.sum(), alone);
  EXPECT_FALSE(table.find_gone(node(7))->unspoken);
  EXPECT_TRUE(table.find_gone(node(8))->unspoken);
}

TEST(MembershipTable, FindsANamesake) {
  MembershipTable table = table_of(5);
  EXPECT_EQ(table.find_namesake(*announce(3)), nullptr);
  EXPECT_EQ(table.find_namesake(*announce(9, 1, "n3"))->id(), node(3));
}

TEST(MembershipTable, OnlyTheDeadAreLookedAfter) {
  MembershipTable table = table_of(4);
  SeededRandom random(1);
  EXPECT_EQ(table.pick_dead(random), nullptr);
  table.put_gone(node(1), {.state = MemberState::left});
  EXPECT_EQ(table.pick_dead(random), nullptr);
  table.put_gone(node(2), kDead);
  EXPECT_EQ(table.pick_dead(random)->id(), node(2));
}

}  // namespace
}  // namespace sluice::cluster
