#include "flow/worker_hand.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/random.h"

namespace sluice::flow {
namespace {

using link::RecordBatch;
using link::RecordId;
using testing::ElementsAre;

RecordBatch lines(RecordId first, std::uint32_t count) {
  std::string bytes;
  for (std::uint32_t i = 0; i < count; ++i) bytes += std::to_string(first + i) + "\n";
  return RecordBatch::of_delimited(first, '\n', std::move(bytes)).value();
}

std::vector<RecordId> ids(const std::vector<LinkedBatch>& batches) {
  std::vector<RecordId> found;
  for (const auto& [batch, link] : batches)
    link::for_each_record(batch, [&](RecordId id, std::string_view record) {
      EXPECT_EQ(record, std::to_string(id) + "\n");
      found.push_back(id);
    });
  return found;
}

TEST(WorkerHand, SettlesInAnyOrder) {
  WorkerHand hand;
  hand.add(lines(1, 5));
  hand.add(lines(10, 2));
  EXPECT_EQ(hand.count(), 7u);
  EXPECT_TRUE(hand.settle(2, 2));
  EXPECT_FALSE(hand.has(3));
  EXPECT_TRUE(hand.has(4));
  EXPECT_TRUE(hand.settle(10, 2));
  EXPECT_EQ(hand.count(), 3u);
  EXPECT_EQ(hand.bytes(), 10u) << "the whole batch is held for its last record";
  EXPECT_TRUE(hand.settle(1, 1));
  EXPECT_TRUE(hand.settle(4, 2));
  EXPECT_TRUE(hand.empty());
  EXPECT_EQ(hand.bytes(), 0u);
}

TEST(WorkerHand, SettlesARangeOverBatches) {
  WorkerHand hand;
  hand.add(lines(1, 3));
  hand.add(lines(4, 3));
  EXPECT_TRUE(hand.settle(2, 4));
  EXPECT_THAT(ids(hand.take_all()), ElementsAre(1, 6));
}

TEST(WorkerHand, SettlesNothingOfARangeThatItHasNotWhole) {
  WorkerHand hand;
  hand.add(lines(5, 3));
  EXPECT_FALSE(hand.settle(4, 2));
  EXPECT_FALSE(hand.settle(7, 2));
  EXPECT_FALSE(hand.settle(1, 1));
  EXPECT_FALSE(hand.settle(~RecordId{0}, 2));
  EXPECT_FALSE(hand.settle(5, UINT32_MAX));
  EXPECT_TRUE(hand.settle(6, 1));
  EXPECT_FALSE(hand.settle(5, 3));
  EXPECT_EQ(hand.count(), 2u);
}

TEST(WorkerHand, TakesOneOut) {
  WorkerHand hand;
  hand.add(lines(5, 3));
  auto taken = hand.take(6);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->batch.bytes(), "6\n");
  EXPECT_EQ(taken->batch.first(), 6u);
  EXPECT_FALSE(hand.take(6));
  EXPECT_FALSE(hand.take(8));
  EXPECT_THAT(ids(hand.take_all()), ElementsAre(5, 7));
  EXPECT_TRUE(hand.empty());
}

TEST(WorkerHand, CountsWhatCameOverEachLink) {
  WorkerHand hand;
  hand.add(lines(1, 3), 0);
  hand.add(lines(4, 4), 1);
  EXPECT_EQ(hand.count(0), 3u);
  EXPECT_EQ(hand.bytes(1), 8u);
  EXPECT_TRUE(hand.settle(3, 2));
  EXPECT_EQ(hand.count(0), 2u);
  EXPECT_EQ(hand.count(1), 3u);
  EXPECT_EQ(hand.bytes(1), 8u) << "its batch is held until all of it is settled";
  auto taken = hand.take(6);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->link, 1u);
  EXPECT_EQ(hand.count(1), 2u);
  auto all = hand.take_all();
  EXPECT_THAT(ids(all), ElementsAre(1, 2, 5, 7));
  EXPECT_EQ(all.back().link, 1u);
  EXPECT_EQ(hand.count(0) + hand.count(1), 0u);
}

TEST(WorkerHand, IsASetOfIdsWhateverIsDone) {
  std::uint64_t seed = random_seed();
  SCOPED_TRACE(seed);
  SeededRandom random(seed);
  for (int round = 0; round < 200; ++round) {
    WorkerHand hand;
    std::set<RecordId> model;
    RecordId next = 1;
    for (int step = 0; step < 60; ++step) {
      RecordId id = 1 + random.below(next + 3);
      auto count = static_cast<std::uint32_t>(1 + random.below(5));
      switch (random.below(4)) {
        case 0:
          next += random.below(3);
          hand.add(lines(next, count));
          while (count-- > 0) model.insert(next++);
          break;
        case 1: {
          bool all = true;
          for (RecordId each = id; each < id + count; ++each) all = all && model.contains(each);
          ASSERT_EQ(hand.settle(id, count), all);
          for (RecordId each = id; all && each < id + count; ++each) model.erase(each);
          break;
        }
        case 2: {
          auto taken = hand.take(id);
          ASSERT_EQ(taken.has_value(), model.erase(id) > 0);
          if (!taken || random.below(2) == 0) break;
          hand.add(std::move(taken->batch), taken->link);  // it has failed, and is tried again
          model.insert(id);
          break;
        }
        case 3:
          ASSERT_EQ(hand.has(id), model.contains(id));
          break;
      }
      ASSERT_EQ(hand.count(), model.size());
    }
    EXPECT_EQ(ids(hand.take_all()), std::vector<RecordId>(model.begin(), model.end()));
  }
}

}  // namespace
}  // namespace sluice::flow
