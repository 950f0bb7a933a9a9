#include "flow/map_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using ActionKind = MapWork::Action::Kind;
using EndKind = AttemptEnd::Kind;
using link::RecordBatch;
using link::RecordId;

constexpr RecordId kNoLimit = ~RecordId{0};

RecordBatch lines(RecordId first, std::uint32_t count) {
  std::string bytes;
  for (std::uint32_t i = 0; i < count; ++i) bytes += "x\n";
  return RecordBatch::of_delimited(first, '\n', std::move(bytes)).value();
}

AttemptEnd end(EndKind kind) {
  auto status = kind == EndKind::succeeded ? exec::ProcessStatus::exited(0)
                : kind == EndKind::lost    ? exec::ProcessStatus::ended_by(9)
                                           : exec::ProcessStatus::exited(3);
  return {.kind = kind, .status = status, .why = {}};
}

std::vector<RecordId> ids(const RecordBatch& batch) {
  std::vector<RecordId> ids;
  for (std::uint32_t i = 0; i < batch.count(); ++i) ids.push_back(batch.first() + i);
  return ids;
}

class MapWorkTest : public testing::Test {
 protected:
  void with(MapWorkOptions options, std::uint32_t records) {
    options.window_records_first = 16;
    work_.emplace(options);
    if (records > 0) work_->on_batch(lines(1, records));
  }

  // Starts the worker's process and gives it what it may have.
  std::vector<RecordId> start(MapWork::Worker worker) {
    EXPECT_EQ(poll(worker).kind, ActionKind::start);
    return given(worker);
  }

  MapWork::Action poll(MapWork::Worker worker, RecordId limit = kNoLimit) { return work_->poll(worker, limit, now_); }

  std::vector<RecordId> given(MapWork::Worker worker, RecordId limit = kNoLimit) {
    std::vector<RecordId> all;
    while (true) {
      MapWork::Action action = poll(worker, limit);
      if (action.kind != ActionKind::give) return all;
      for (RecordId id : ids(action.batch)) all.push_back(id);
      if (action.ends) return all;
    }
  }

  std::optional<MapWork> work_;
  TimePoint now_{1h};
};

TEST_F(MapWorkTest, SharesAFewRecordsBetweenTheWorkers) {
  with({.workers = 2}, 4);
  EXPECT_THAT(start(0), ElementsAre(1, 2));
  EXPECT_THAT(start(1), ElementsAre(3, 4));
}

TEST_F(MapWorkTest, AnswersBelongToTheFirstRecordsThatHaveNone) {
  with({}, 3);
  EXPECT_THAT(start(0), ElementsAre(1, 2, 3));
  auto answered = work_->on_answers(0, 2, now_);
  ASSERT_TRUE(answered.has_value());
  ASSERT_EQ(answered->size(), 1u);
  EXPECT_EQ((*answered)[0].first, 1u);
  EXPECT_EQ((*answered)[0].count, 2u);
  EXPECT_EQ(work_->oldest(0), 3u);
  EXPECT_THAT(work_->on_answers(0, 2, now_).error(), HasSubstr("1 record more than it was given"));
}

TEST_F(MapWorkTest, TellsTheEndOfTheInputWhenNothingIsLeftAndIsThenFinished) {
  with({}, 1);
  start(0);
  work_->on_source_end();
  EXPECT_EQ(poll(0).kind, ActionKind::close);
  (void)work_->on_answers(0, 1, now_);
  EXPECT_FALSE(work_->finished());
  work_->on_ended(0, end(EndKind::succeeded), now_);
  EXPECT_TRUE(work_->finished());
}

TEST_F(MapWorkTest, WhatALostProcessHasNotAnsweredRunsAgainAfterARest) {
  with({}, 3);
  start(0);
  (void)work_->on_answers(0, 1, now_);
  work_->on_ended(0, end(EndKind::lost), now_);
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
  ASSERT_TRUE(work_->poll_deadline().has_value());
  now_ = *work_->poll_deadline();
  EXPECT_THAT(start(0), ElementsAre(2, 3));
  EXPECT_EQ(work_->retried(), 2u);
}

// Whichever record ends its process, it alone is condemned, and all others are answered.
TEST_F(MapWorkTest, FindsTheRecordThatEndsItsProcess) {
  constexpr std::uint32_t kRecords = 1000;
  constexpr RecordId kPoison = 617;
  with({.workers = 3, .buries = true, .part_max = 16}, kRecords);
  work_->on_source_end();
  std::multiset<RecordId> answered;
  std::vector<RecordId> dead;
  int processes = 0;
  for (int round = 0; round < 10'000 && !work_->finished(); ++round) {
    now_ += 20s;
    for (MapWork::Worker worker = 0; worker < 3; ++worker) {
      MapWork::Action action = poll(worker);
      if (action.kind == ActionKind::start) {
        ++processes;
        action = poll(worker);
      }
      std::vector<RecordId> had = ids(action.batch);
      auto poison = std::ranges::find(had, kPoison);
      auto count = static_cast<std::uint32_t>(poison - had.begin());
      answered.insert(had.begin(), poison);
      ASSERT_TRUE(work_->on_answers(worker, count, now_).has_value());
      if (poison != had.end())
        work_->on_ended(worker, end(EndKind::lost), now_);
      else if (action.kind == ActionKind::close || action.ends)
        work_->on_ended(worker, end(EndKind::succeeded), now_);
    }
    while (auto condemned = work_->poll_dead()) {
      dead.push_back(condemned->record.first());
      EXPECT_EQ(condemned->attempts, 4u);
      work_->on_buried();
    }
  }
  EXPECT_TRUE(work_->finished());
  EXPECT_THAT(dead, ElementsAre(kPoison));
  EXPECT_EQ(answered.size(), kRecords - 1);
  EXPECT_EQ(std::set<RecordId>(answered.begin(), answered.end()).size(), kRecords - 1) << "none was answered twice";
  EXPECT_LT(processes, 40);
}

TEST_F(MapWorkTest, RecordsThatEndTheirProcessAreBuriedWithoutRestsThatAddUp) {
  for (EndKind kind : {EndKind::lost, EndKind::failed}) {
    with({.workers = 1, .buries = true}, 100);
    work_->on_source_end();
    const TimePoint begin = now_;
    int buried = 0;
    while (!work_->finished() && now_ < begin + 1h) {
      if (auto due = work_->poll_deadline()) now_ = std::max(now_, *due);
      if (poll(0).kind != ActionKind::start) continue;
      given(0);
      work_->on_ended(0, end(kind), now_);
      for (; work_->poll_dead(); ++buried) work_->on_buried();
    }
    EXPECT_EQ(buried, 100);
    EXPECT_LT(now_ - begin, 60s) << "each had its own rests";
  }
}

TEST_F(MapWorkTest, TheNextProcessWaitsUntilTheDeadOfTheLastAreTold) {
  with({.workers = 1, .losses = 0, .buries = true}, 2);
  for (int times = 0; times < 20 && !work_->poll_deadline(); ++times) {
    if (poll(0).kind != ActionKind::start) break;
    given(0);
    work_->on_ended(0, end(EndKind::failed), now_);
  }
  while (work_->poll_deadline()) {
    now_ = *work_->poll_deadline();
    if (poll(0).kind != ActionKind::start) break;
    given(0);
    work_->on_ended(0, end(EndKind::failed), now_);
  }
  EXPECT_EQ(poll(0).kind, ActionKind::nothing) << "a record is condemned, and its process's last words are kept for it";
  ASSERT_TRUE(work_->poll_dead().has_value());
  EXPECT_EQ(poll(0).kind, ActionKind::start);
}

TEST_F(MapWorkTest, AStatusBreaksTheStageUnlessRecordsMayFail) {
  with({}, 2);
  start(0);
  work_->on_ended(0, end(EndKind::failed), now_);
  ASSERT_TRUE(work_->broken().has_value());
  EXPECT_EQ(work_->broken()->unanswered, 2u);
  with({.retries = 1}, 2);
  start(0);
  work_->on_ended(0, end(EndKind::failed), now_);
  EXPECT_FALSE(work_->broken().has_value());
  now_ += 1min;
  EXPECT_THAT(start(0), ElementsAre(1)) << "alone, with the end behind";
}

TEST_F(MapWorkTest, AProcessThatLeavesRecordsUnansweredBreaksTheStage) {
  with({}, 2);
  start(0);
  work_->on_ended(0, end(EndKind::succeeded), now_);
  ASSERT_TRUE(work_->broken().has_value());
  EXPECT_EQ(work_->broken()->unanswered, 2u);
}

TEST_F(MapWorkTest, GoesOnWithoutAWorkerThatIsDoneButNotWithoutAll) {
  with({.workers = 2}, 2);
  start(0);
  start(1);
  (void)work_->on_answers(0, 1, now_);
  work_->on_ended(0, end(EndKind::succeeded), now_);
  EXPECT_FALSE(work_->broken().has_value());
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
  (void)work_->on_answers(1, 1, now_);
  work_->on_ended(1, end(EndKind::succeeded), now_);
  EXPECT_TRUE(work_->broken().has_value());
}

TEST_F(MapWorkTest, GivesLittleToASlowProcessAndMuchToAFastOne) {
  with({.workers = 2, .waiting_bytes_max = 1u << 20}, 100'000);
  start(0);
  start(1);
  std::size_t slow = 0, fast = 0;
  for (int tick = 0; tick < 400; ++tick) {
    now_ += 1ms;
    if (tick % 20 == 19) (void)work_->on_answers(0, 1, now_);
    (void)work_->on_answers(1, static_cast<std::uint32_t>(std::min<std::uint64_t>(100, work_->unanswered(1))), now_);
    slow = work_->unanswered(0) + given(0).size();
    fast = std::max<std::size_t>(fast, work_->unanswered(1) + given(1).size());
  }
  EXPECT_LE(slow, 10u);
  EXPECT_GE(fast, 1000u);
}

TEST_F(MapWorkTest, GivesMoreToAProcessThatKeepsItsAnswersUpToALimit) {
  with({.stall_bytes = 128}, 1000);
  std::size_t had = start(0).size();
  EXPECT_TRUE(work_->full(0));
  int stalls = 0;
  while (work_->on_stalled(0)) {
    ++stalls;
    had += given(0).size();
  }
  EXPECT_GE(stalls, 2);
  EXPECT_GE(had, 64u);
  EXPECT_LE(had, 128u);
  work_->flush(0);
  EXPECT_EQ(poll(0).kind, ActionKind::close);
}

// Else all that waits would pile up behind one slow record.
TEST_F(MapWorkTest, GivesNoMoreToASlowProcessOfAProgramThatAnswersOneByOne) {
  with({.workers = 2}, 1000);
  start(0);
  start(1);
  EXPECT_TRUE(work_->on_stalled(0));
  (void)work_->on_answers(1, 1, now_);
  EXPECT_FALSE(work_->on_stalled(0));
}

TEST_F(MapWorkTest, GivesNothingAboveTheLimit) {
  with({}, 10);
  EXPECT_EQ(poll(0, 4).kind, ActionKind::start);
  EXPECT_THAT(given(0, 4), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(given(0, 4), ElementsAre());
  EXPECT_EQ(given(0).size(), 6u);
}

TEST_F(MapWorkTest, WithLanesTheSuspectsOfALaneGoBeforeItsNewerRecords) {
  with({.workers = 2, .lanes = true, .part_max = 2}, 0);
  work_->on_batch(lines(1, 3), 0);
  work_->on_batch(lines(4, 1), 1);
  EXPECT_THAT(start(0), ElementsAre(1, 2, 3));
  for (int loss = 0; loss < 2; ++loss) {
    work_->on_ended(0, end(EndKind::lost), now_);
    now_ += 1min;
    if (loss == 0) {
      EXPECT_THAT(start(0), ElementsAre(1, 2, 3));
    }
  }
  work_->on_batch(lines(5, 1), 0);
  EXPECT_THAT(start(0), ElementsAre(1, 2));
  (void)work_->on_answers(0, 2, now_);
  work_->on_ended(0, end(EndKind::succeeded), now_);
  EXPECT_THAT(start(0), ElementsAre(3));
  (void)work_->on_answers(0, 1, now_);
  work_->on_ended(0, end(EndKind::succeeded), now_);
  EXPECT_THAT(start(0), ElementsAre(5));
}

// --- another number of workers ------------------------------------------------------------------------------------

TEST_F(MapWorkTest, MoreWorkersShareWhatWaits) {
  with({.workers = 1}, 0);
  work_->set_workers(2);
  work_->on_batch(lines(1, 4));
  EXPECT_THAT(start(0), ElementsAre(1, 2));
  EXPECT_THAT(start(1), ElementsAre(3, 4));
}

TEST_F(MapWorkTest, AWorkerTooManyAnswersWhatItHasAndIsGivenNoMore) {
  with({.workers = 2}, 4);
  start(0);
  EXPECT_THAT(start(1), ElementsAre(3, 4));
  work_->set_workers(1);
  work_->on_batch(lines(5, 4));
  EXPECT_EQ(poll(1).kind, ActionKind::close);
  EXPECT_TRUE(work_->on_answers(1, 2, now_));
  work_->on_ended(1, end(EndKind::succeeded), now_);
  EXPECT_EQ(poll(1).kind, ActionKind::nothing);
  EXPECT_TRUE(work_->on_answers(0, 2, now_));
  EXPECT_THAT(given(0), ElementsAre(5, 6, 7, 8));
}

TEST_F(MapWorkTest, WhatAWorkerTooManyLosesIsDoneByTheOthers) {
  with({.workers = 2}, 2);
  start(0);
  start(1);
  work_->set_workers(1);
  EXPECT_EQ(poll(1).kind, ActionKind::close);
  work_->on_ended(1, end(EndKind::lost), now_);
  now_ += 1min;
  EXPECT_EQ(poll(1).kind, ActionKind::nothing);
  EXPECT_TRUE(work_->on_answers(0, 1, now_));
  EXPECT_THAT(given(0), ElementsAre(2));
  EXPECT_FALSE(work_->poll_deadline());
}

TEST_F(MapWorkTest, SuspectsDoNotWaitForAWorkerTooMany) {
  with({.workers = 2}, 1);
  work_->set_workers(1);
  for (int loss = 0; loss < 2; ++loss) {
    start(0);
    work_->on_ended(0, end(EndKind::lost), now_);
    now_ += 1min;
  }
  EXPECT_THAT(start(0), ElementsAre(1));
  EXPECT_TRUE(work_->on_answers(0, 1, now_));
  work_->on_ended(0, end(EndKind::succeeded), now_);
  work_->on_source_end();
  EXPECT_TRUE(work_->finished());
}

TEST_F(MapWorkTest, WorkersJoinAndLeave) {
  with({.workers = 0, .joins = true}, 4);
  work_->on_joined(0);
  EXPECT_THAT(start(0), ElementsAre(1, 2, 3, 4));
  work_->on_leaving(0);
  EXPECT_EQ(poll(0).kind, ActionKind::close);
  ASSERT_TRUE(work_->on_answers(0, 2, now_));
  work_->on_ended(0, end(EndKind::lost), now_);
  EXPECT_TRUE(work_->retired(0));
  EXPECT_FALSE(work_->broken());
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
  work_->on_source_end();
  EXPECT_FALSE(work_->finished()) << "records wait for somebody to come";
  work_->on_joined(0);
  EXPECT_THAT(start(0), ElementsAre(3, 4));
}

TEST_F(MapWorkTest, AJoinedWorkerWhoseProgramEndsWithEverythingAnsweredHasLeft) {
  with({.workers = 0, .joins = true}, 1);
  work_->on_joined(0);
  EXPECT_THAT(start(0), ElementsAre(1));
  ASSERT_TRUE(work_->on_answers(0, 1, now_));
  work_->on_ended(0, end(EndKind::succeeded), now_);
  EXPECT_TRUE(work_->retired(0));
  EXPECT_FALSE(work_->broken());
}

}  // namespace
}  // namespace sluice::flow
