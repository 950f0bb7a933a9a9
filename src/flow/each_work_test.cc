#include "flow/each_work.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;
using Kind = AttemptEnd::Kind;

AttemptEnd end(Kind kind) {
  switch (kind) {
    case Kind::succeeded:
      return {.kind = kind, .status = exec::ProcessStatus::exited(0), .why = {}};
    case Kind::lost:
      return {.kind = kind, .status = exec::ProcessStatus::ended_by(9), .why = {}};
    case Kind::failed:
    case Kind::refused:
      break;
  }
  return {.kind = kind, .status = exec::ProcessStatus::exited(3), .why = {}};
}

// Starts whatever can be started, and says which batches those are.
std::vector<BatchNumber> starts(EachWork& work, TimePoint now) {
  std::vector<BatchNumber> started;
  while (auto start = work.poll_start(now)) started.push_back(start->batch);
  return started;
}

std::vector<BatchNumber> writes(EachWork& work) {
  std::vector<BatchNumber> written;
  while (auto batch = work.poll_write()) {
    written.push_back(*batch);
    work.on_written(*batch);
  }
  return written;
}

using Batches = std::vector<BatchNumber>;

class EachWorkTest : public testing::Test {
 protected:
  EachWork& with(const EachWorkOptions& options, BatchNumber batches) {
    work_.emplace(options);
    for (BatchNumber batch = 1; batch <= batches; ++batch) work_->on_batch(batch, std::nullopt);
    return *work_;
  }
  std::optional<EachWork> work_;
  TimePoint now_{};
};

TEST_F(EachWorkTest, RunsAsManyAsThereAreWorkersAndWritesThemAsTheyEnd) {
  EachWork& work = with({.workers = 2}, 3);
  EXPECT_EQ(starts(work, now_), (Batches{1, 2}));
  work.on_ended(2, end(Kind::succeeded), now_);
  EXPECT_EQ(writes(work), Batches{2});
  EXPECT_EQ(starts(work, now_), Batches{3});
  work.on_source_end();
  work.on_ended(1, end(Kind::succeeded), now_);
  work.on_ended(3, end(Kind::succeeded), now_);
  EXPECT_FALSE(work.finished());
  EXPECT_EQ(writes(work), (Batches{1, 3}));
  EXPECT_TRUE(work.finished());
}

TEST_F(EachWorkTest, WritesInOrderIfAsked) {
  EachWork& work = with({.workers = 3, .ordered = true}, 3);
  starts(work, now_);
  work.on_ended(3, end(Kind::succeeded), now_);
  work.on_ended(2, end(Kind::succeeded), now_);
  EXPECT_EQ(writes(work), Batches{});
  work.on_ended(1, end(Kind::succeeded), now_);
  EXPECT_EQ(writes(work), (Batches{1, 2, 3}));
}

TEST_F(EachWorkTest, AFailureBreaksTheStageUnlessItMayBeTriedAgain) {
  EachWork& work = with({.workers = 1}, 2);
  starts(work, now_);
  work.on_ended(1, end(Kind::failed), now_);
  ASSERT_TRUE(work.broken().has_value());
  EXPECT_EQ(work.broken()->batch, 1u);
  EXPECT_EQ(work.broken()->attempts, 1u);
  EXPECT_EQ(starts(work, now_), Batches{});
}

TEST_F(EachWorkTest, TriesAgainAfterARestThatGrows) {
  EachWork& work = with({.workers = 1, .retries = 2, .backoff_first = 1s}, 1);
  starts(work, now_);
  work.on_ended(1, end(Kind::failed), now_);
  EXPECT_EQ(starts(work, now_), Batches{});
  EXPECT_EQ(work.poll_deadline(), now_ + 1s);
  now_ += 1s;
  EXPECT_EQ(starts(work, now_), Batches{1});
  work.on_ended(1, end(Kind::failed), now_);
  EXPECT_EQ(work.poll_deadline(), now_ + 2s);
  now_ += 2s;
  EXPECT_EQ(starts(work, now_), Batches{1});
  work.on_ended(1, end(Kind::failed), now_);
  EXPECT_TRUE(work.broken().has_value());
  EXPECT_EQ(work.retried(), 2u);
}

TEST_F(EachWorkTest, AProcessThatASignalEndedIsRunAgainThreeTimesWithoutBeingAsked) {
  EachWork& work = with({.workers = 1}, 1);
  for (int attempt = 1; attempt <= 4; ++attempt) {
    EXPECT_FALSE(work.broken().has_value()) << attempt;
    EXPECT_EQ(starts(work, now_), Batches{1}) << attempt;
    work.on_ended(1, end(Kind::lost), now_);
    now_ += 1min;
  }
  ASSERT_TRUE(work.broken().has_value());
  EXPECT_EQ(work.broken()->attempts, 4u);
}

TEST_F(EachWorkTest, WhatFailedForGoodIsBuriedAndTheRestFlows) {
  EachWork& work = with({.workers = 1, .ordered = true, .buries = true}, 2);
  starts(work, now_);
  work.on_ended(1, end(Kind::refused), now_);
  EXPECT_EQ(starts(work, now_), Batches{2});
  work.on_ended(2, end(Kind::succeeded), now_);
  EXPECT_EQ(writes(work), Batches{}) << "its turn comes when the first is dealt with";
  auto dead = work.poll_dead();
  ASSERT_TRUE(dead.has_value());
  EXPECT_EQ(dead->batch, 1u);
  work.on_buried(1);
  EXPECT_EQ(writes(work), Batches{2});
}

TEST_F(EachWorkTest, ABatchOfALaneWaitsForItsWorkerAndForThoseBeforeIt) {
  work_.emplace(EachWorkOptions{.workers = 2, .retries = 1, .backoff_first = 1s});
  EachWork& work = *work_;
  work.on_batch(1, 1);
  work.on_batch(2, 1);
  work.on_batch(3, 0);
  EXPECT_EQ(starts(work, now_), (Batches{1, 3}));
  work.on_ended(1, end(Kind::failed), now_);
  EXPECT_EQ(starts(work, now_), Batches{}) << "the second would overtake the first";
  EXPECT_EQ(work.poll_deadline(), now_ + 1s);
  now_ += 1s;
  EXPECT_EQ(starts(work, now_), Batches{1});
  EXPECT_EQ(work.poll_deadline(), std::nullopt);
}

TEST_F(EachWorkTest, HoldsNoMoreThanItMay) {
  EachWork& work = with({.workers = 1, .held_max = 3}, 3);
  EXPECT_FALSE(work.wants_batch());
  starts(work, now_);
  work.on_ended(1, end(Kind::succeeded), now_);
  EXPECT_FALSE(work.wants_batch()) << "its output waits for a reader";
  writes(work);
  EXPECT_TRUE(work.wants_batch());
}

TEST_F(EachWorkTest, StartsASecondBatchForEachWorkerIfToldTo) {
  EachWork& work = with({.workers = 2}, 6);
  EXPECT_EQ(starts(work, now_), (Batches{1, 2}));
  work.run_ahead(true);
  EXPECT_EQ(starts(work, now_), (Batches{3, 4}));
  EXPECT_FALSE(work.can_start());
  work.run_ahead(false);
  work.on_ended(1, end(Kind::succeeded), now_);
  EXPECT_EQ(starts(work, now_), Batches{5}) << "its worker is free again";
  work.on_ended(3, end(Kind::succeeded), now_);
  EXPECT_EQ(starts(work, now_), Batches{}) << "the place behind another is not given any more";
}

TEST_F(EachWorkTest, WhileHoldingBackStartsOnlyTheBatchThatGoesFirst) {
  EachWork& work = with({.workers = 2, .ordered = true, .retries = 1}, 3);
  EXPECT_EQ(starts(work, now_), (Batches{1, 2}));
  work.hold_back(true);
  work.on_ended(2, end(Kind::succeeded), now_);
  EXPECT_EQ(starts(work, now_), Batches{});
  work.on_ended(1, end(Kind::failed), now_);
  now_ += 1min;
  EXPECT_EQ(starts(work, now_), Batches{1});
}

TEST_F(EachWorkTest, StartsNothingMoreOnceItIsStopped) {
  EachWork& work = with({.workers = 1, .retries = 5}, 2);
  starts(work, now_);
  work.stop();
  work.on_ended(1, end(Kind::succeeded), now_);
  EXPECT_EQ(starts(work, now_), Batches{});
  EXPECT_FALSE(work.wants_batch());
}

// --- another number of workers ------------------------------------------------------------------------------------

TEST_F(EachWorkTest, MoreWorkersRunMoreAtATime) {
  EachWork& work = with({.workers = 1}, 4);
  EXPECT_EQ(starts(work, now_), Batches{1});
  work.set_workers(3);
  EXPECT_EQ(starts(work, now_), (Batches{2, 3}));
  work.on_ended(2, end(Kind::succeeded), now_);
  EXPECT_EQ(starts(work, now_), Batches{4});
}

TEST_F(EachWorkTest, FewerWorkersRunFewerWhenTheirBatchesHaveEnded) {
  EachWork& work = with({.workers = 3}, 6);
  EXPECT_EQ(starts(work, now_), (Batches{1, 2, 3}));
  work.set_workers(1);
  work.on_ended(2, end(Kind::succeeded), now_);
  work.on_ended(3, end(Kind::succeeded), now_);
  EXPECT_EQ(starts(work, now_), Batches{});
  work.on_ended(1, end(Kind::succeeded), now_);
  EXPECT_EQ(starts(work, now_), Batches{4});
}

TEST_F(EachWorkTest, AWorkerThatIsBusyStillIsNotCountedTwiceWhenItIsWantedAgain) {
  EachWork& work = with({.workers = 2}, 5);
  EXPECT_EQ(starts(work, now_), (Batches{1, 2}));
  work.set_workers(1);
  work.set_workers(2);
  EXPECT_EQ(starts(work, now_), Batches{});
  work.on_ended(2, end(Kind::succeeded), now_);
  EXPECT_EQ(starts(work, now_), Batches{3});
}

TEST_F(EachWorkTest, WorkersJoinAndLeave) {
  EachWork& work = with({.workers = 0, .joins = true}, 3);
  work.run_ahead(true);
  EXPECT_EQ(starts(work, TimePoint{}), Batches{});
  work.on_joined(0);
  EXPECT_EQ(starts(work, TimePoint{}), Batches{1}) << "nobody runs ahead of a worker that may leave";
  work.on_joined(1);
  EXPECT_EQ(starts(work, TimePoint{}), Batches{2});
  work.on_leaving(1);
  EXPECT_FALSE(work.retired(1));
  work.on_ended(2, end(Kind::lost), TimePoint{});
  EXPECT_TRUE(work.retired(1));
  work.on_ended(1, end(Kind::succeeded), TimePoint{});
  EXPECT_EQ(starts(work, TimePoint{} + 1h), Batches{2}) << "on the worker that is left";
  work.on_joined(1);
  EXPECT_EQ(starts(work, TimePoint{} + 1h), Batches{3});
}

}  // namespace
}  // namespace sluice::flow
