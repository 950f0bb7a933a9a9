#include "flow/worker_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/random.h"

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using ActionKind = WorkerWork::Action::Kind;
using EndKind = AttemptEnd::Kind;
using Why = WorkerWork::Broken::Why;
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

class WorkerWorkTest : public testing::Test {
 protected:
  void with(WorkerWorkOptions options) { work_.emplace(options); }

  WorkerWork::Action poll(WorkerWork::Worker worker, RecordId limit = kNoLimit) {
    return work_->poll(worker, limit, now_);
  }

  // Its process says hello and grants so many records.
  void start(WorkerWork::Worker worker, std::uint32_t concurrency = 4, std::uint32_t records = 1000) {
    ASSERT_EQ(poll(worker).kind, ActionKind::start);
    hello(worker, concurrency, records);
  }
  void hello(WorkerWork::Worker worker, std::uint32_t concurrency = 4, std::uint32_t records = 1000) {
    ASSERT_TRUE(work_->on_hello(worker, {.concurrency = concurrency, .role = "", .library = ""}));
    credit(worker, concurrency, records);
  }
  void credit(WorkerWork::Worker worker, std::uint32_t concurrency, std::uint32_t records) {
    ASSERT_TRUE(work_->on_credit(worker, {.concurrency = concurrency, .records = records, .bytes = 1 << 20}));
  }
  void hello_source(WorkerWork::Worker worker) {
    ASSERT_EQ(poll(worker).kind, ActionKind::start);
    ASSERT_TRUE(work_->on_hello(worker, {.source = true, .role = "", .library = ""}));
  }

  std::vector<RecordId> given(WorkerWork::Worker worker, RecordId limit = kNoLimit) {
    std::vector<RecordId> all;
    while (true) {
      WorkerWork::Action action = poll(worker, limit);
      if (action.kind != ActionKind::give) return all;
      for (std::uint32_t i = 0; i < action.batch.count(); ++i) all.push_back(action.batch.first() + i);
    }
  }
  WorkerWork::Outcome done(WorkerWork::Worker worker, RecordId first, std::uint32_t count = 1) {
    return work_->on_done(worker, {.first = first, .count = count}, now_);
  }
  WorkerWork::Outcome fail(WorkerWork::Worker worker, RecordId record) {
    return work_->on_failed(worker, {.record = record, .reason = "no such user"}, now_);
  }
  // Works on each for so long, and says what it has done every 20 ms, and when it has worked off all.
  void settle_in_bursts(const std::vector<RecordId>& hand, Duration each) {
    std::size_t said = 0;
    TimePoint last = now_;
    for (std::size_t i = 0; i < hand.size(); ++i) {
      now_ += each;
      if (now_ - last < 20ms && i + 1 < hand.size()) continue;
      ASSERT_TRUE(done(0, hand[said], static_cast<std::uint32_t>(i + 1 - said)));
      said = i + 1;
      last = now_;
    }
  }
  void ended(WorkerWork::Worker worker, EndKind kind) { work_->on_ended(worker, end(kind), now_); }
  void rest() { now_ += 1min; }

  std::optional<WorkerWork> work_;
  TimePoint now_ = TimePoint{} + 1h;
};

// --- dispatch -----------------------------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, ReadsNoInputBeforeAWorkerTakesRecords) {
  with({});
  EXPECT_FALSE(work_->wants_input());
  start(0);
  EXPECT_TRUE(work_->wants_input());
  work_->on_batch(lines(1, 1 << 20));
  EXPECT_FALSE(work_->wants_input());
}

TEST_F(WorkerWorkTest, GivesNothingWithoutCreditAndNoMoreThanTheConcurrency) {
  with({});
  EXPECT_EQ(poll(0).kind, ActionKind::start);
  ASSERT_TRUE(work_->on_hello(0, {.concurrency = 3, .role = "", .library = ""}));
  work_->on_batch(lines(1, 10));
  EXPECT_THAT(given(0), IsEmpty());
  credit(0, 3, 100);
  EXPECT_THAT(given(0), ElementsAre(1, 2, 3));
  EXPECT_TRUE(done(0, 2));
  EXPECT_THAT(given(0), ElementsAre(4));
}

TEST_F(WorkerWorkTest, WhatTheFlowSaysGoesBeforeWhatTheProgramWishes) {
  with({.concurrency = 2});
  work_->on_batch(lines(1, 10));
  start(0, 7);
  credit(0, 0, 100);
  EXPECT_EQ(given(0).size(), 7u) << "until the worker says in its credit what it does, which start() did";
  with({.concurrency = 2});
  work_->on_batch(lines(1, 10));
  EXPECT_EQ(poll(0).kind, ActionKind::start);
  ASSERT_TRUE(work_->on_hello(0, {.concurrency = 7, .role = "", .library = ""}));
  credit(0, 2, 100);
  EXPECT_EQ(given(0).size(), 2u);
}

TEST_F(WorkerWorkTest, NoCreditIsAPause) {
  with({});
  start(0, 2);
  work_->on_batch(lines(1, 10));
  EXPECT_THAT(given(0), ElementsAre(1, 2));
  credit(0, 2, 0);
  EXPECT_TRUE(done(0, 1, 2));
  EXPECT_THAT(given(0), IsEmpty());
  credit(0, 2, 100);
  EXPECT_FALSE(given(0).empty());
}

TEST_F(WorkerWorkTest, CreditForBytesHoldsButForOneRecord) {
  with({});
  EXPECT_EQ(poll(0).kind, ActionKind::start);
  ASSERT_TRUE(work_->on_hello(0, {.concurrency = 100, .role = "", .library = ""}));
  ASSERT_TRUE(work_->on_credit(0, {.concurrency = 100, .records = 100, .bytes = 10}));
  work_->on_batch(RecordBatch::of_delimited(1, '\n', std::string(50, 'x') + "\n").value());
  work_->on_batch(lines(2, 10));
  EXPECT_THAT(given(0), ElementsAre(1)) << "whatever its length, alone";
  EXPECT_TRUE(done(0, 1));
  EXPECT_THAT(given(0), ElementsAre(2, 3, 4, 5, 6)) << "of two bytes each";
}

TEST_F(WorkerWorkTest, FewRecordsGoToAllWorkersThoseThatStartIncluded) {
  with({.workers = 4});
  for (WorkerWork::Worker worker = 1; worker < 4; ++worker) EXPECT_EQ(poll(worker).kind, ActionKind::start);
  ASSERT_TRUE(work_->on_hello(1, {.concurrency = 100, .role = "", .library = ""}));
  start(0, 100);
  work_->on_batch(lines(1, 8));
  EXPECT_EQ(given(0).size(), 2u);
  for (WorkerWork::Worker worker = 1; worker < 4; ++worker) {
    if (worker > 1) hello(worker, 100);
    credit(worker, 100, 1000);
    EXPECT_EQ(given(worker).size(), 2u);
  }
}

TEST_F(WorkerWorkTest, GivesAFastWorkerMuchAheadAndASlowOneItsConcurrency) {
  with({.workers = 2});
  start(0, 1);
  start(1, 1);
  std::size_t slow = 0, fast = 0;
  RecordId next = 1;
  std::map<WorkerWork::Worker, std::vector<RecordId>> hands;
  for (int tick = 0; tick < 500; ++tick) {
    now_ += 1ms;
    work_->on_batch(lines(next, 1000));
    next += 1000;
    for (WorkerWork::Worker worker : {0u, 1u}) {
      auto more = given(worker);
      hands[worker].insert(hands[worker].end(), more.begin(), more.end());
    }
    fast = std::max(fast, hands[1].size());
    slow = hands[0].size();
    for (std::size_t settled = std::min<std::size_t>(hands[1].size(), 50); settled > 0; --settled) {
      ASSERT_TRUE(done(1, hands[1].front()));
      hands[1].erase(hands[1].begin());
    }
    if (tick % 30 == 29) {
      ASSERT_TRUE(done(0, hands[0].front()));
      hands[0].erase(hands[0].begin());
    }
  }
  EXPECT_LE(slow, 4u);
  EXPECT_GE(fast, 500u);
}

// It has nothing in hand after each, and that could be taken for a worker that starves.
TEST_F(WorkerWorkTest, ASlowWorkerThatSettlesInBurstsHoldsNoMoreThanItSettlesInAMoment) {
  for (Duration each : {5ms, 50ms}) {
    with({});
    start(0, 1, 8000);
    RecordId next = 1;
    for (int burst = 0; burst < 30; ++burst) {
      work_->on_batch(lines(next, 1000));
      next += 1000;
      std::vector<RecordId> hand = given(0);
      ASSERT_LE(hand.size() * each, 100ms) << burst;
      settle_in_bursts(hand, each);
    }
  }
}

TEST_F(WorkerWorkTest, AWorkerThatIsFarAwayIsNotTakenForASlowOne) {
  with({});
  start(0, 1, 8000);
  work_->on_batch(lines(1, 10000));
  for (int round = 0; round < 10; ++round) {
    std::vector<RecordId> hand = given(0);
    now_ += 200ms;
    ASSERT_TRUE(done(0, hand.front(), static_cast<std::uint32_t>(hand.size())));
  }
  EXPECT_EQ(given(0).size(), 1024u);
}

TEST_F(WorkerWorkTest, GivesNothingAboveTheLimit) {
  with({});
  start(0, 100);
  work_->on_batch(lines(1, 10));
  EXPECT_THAT(given(0, 4), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(given(0, 4), IsEmpty());
  EXPECT_EQ(given(0).size(), 6u);
}

TEST_F(WorkerWorkTest, HasNoMoreAheadThanItMayWhateverItSettles) {
  with({.ahead_max = 6});
  start(0, 2, 1000);
  work_->on_batch(lines(1, 1000));
  for (RecordId id = 1; id <= 500; ++id) {
    given(0);
    ASSERT_LE(work_->in_hand(0), 6u);
    now_ += 1ms;
    ASSERT_TRUE(done(0, id));
  }
  given(0);
  EXPECT_EQ(work_->in_hand(0), 6u);
  with({.ahead_max = 1});
  start(0, 3);
  work_->on_batch(lines(1, 10));
  EXPECT_EQ(given(0).size(), 3u) << "what it works on at a time is not ahead";
}

// --- several links ------------------------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, ALinkThatIsAheadDoesNotKeepAnotherWaiting) {
  with({.links = 2});
  start(0, 4);
  work_->on_batch(lines(1, 10), {.link = 0});
  EXPECT_THAT(given(0), ElementsAre(1, 2)) << "the other half is for what comes over the other link";
  work_->on_batch(lines(11, 10), {.link = 1});
  EXPECT_THAT(given(0), ElementsAre(11, 12));
  EXPECT_TRUE(done(0, 12));
  EXPECT_THAT(given(0), ElementsAre(13)) << "its own link's share is free again, and no other";
  EXPECT_EQ(work_->in_hand_of(0), 2u);
  EXPECT_EQ(work_->waiting(0), 8u);
}

TEST_F(WorkerWorkTest, LinksShareWhatIsOverInTheirOrder) {
  with({.links = 3});
  start(0, 8);
  work_->on_batch(lines(1, 5), {.link = 2});
  work_->on_batch(lines(6, 5), {.link = 0});
  work_->on_batch(lines(11, 5), {.link = 1});
  EXPECT_THAT(given(0), ElementsAre(1, 2, 6, 7, 8, 11, 12, 13));
}

TEST_F(WorkerWorkTest, TheShareOfALinkThatHasEndedGoesToTheOthers) {
  with({.links = 2});
  start(0, 4);
  work_->on_batch(lines(1, 10), {.link = 0});
  work_->on_batch(lines(11, 3), {.link = 1});
  EXPECT_THAT(given(0), ElementsAre(1, 2, 11, 12));
  work_->on_source_end(1);
  EXPECT_THAT(given(0), IsEmpty()) << "one of its records still waits";
  EXPECT_TRUE(done(0, 11));
  EXPECT_THAT(given(0), ElementsAre(13));
  EXPECT_TRUE(done(0, 12));
  EXPECT_THAT(given(0), ElementsAre(3)) << "what is in hand of it still counts";
  EXPECT_TRUE(done(0, 13));
  EXPECT_THAT(given(0), ElementsAre(4));
  work_->on_source_end(0);
  EXPECT_TRUE(done(0, 1, 4));
  EXPECT_THAT(given(0), ElementsAre(5, 6, 7, 8));
}

TEST_F(WorkerWorkTest, MoreLinksThanItWorksOnShareIt) {
  with({.links = 3});
  start(0, 2);
  work_->on_batch(lines(1, 3), {.link = 2});
  EXPECT_THAT(given(0), ElementsAre(1, 2));
  work_->on_batch(lines(4, 3), {.link = 0});
  EXPECT_THAT(given(0), IsEmpty());
  EXPECT_TRUE(done(0, 1, 2));
  EXPECT_THAT(given(0), ElementsAre(3, 4)) << "who came first, whatever its link";
}

TEST_F(WorkerWorkTest, OfSeveralLinksNothingIsGivenAhead) {
  with({.links = 2});
  start(0, 2);
  work_->on_batch(lines(1, 1000), {.link = 0});
  work_->on_batch(lines(1001, 1000), {.link = 1});
  for (RecordId id = 1; id < 100; ++id) {
    given(0);
    ASSERT_EQ(work_->in_hand(0), 2u);
    now_ += 1ms;
    ASSERT_TRUE(done(0, id));
    ASSERT_TRUE(done(0, 1000 + id));
  }
}

TEST_F(WorkerWorkTest, ReadsEachLinkAsFarAsItHasRoomItself) {
  with({.links = 2});
  start(0);
  work_->on_batch(lines(1, 1 << 20), {.link = 0});
  EXPECT_FALSE(work_->wants_input(0));
  EXPECT_TRUE(work_->wants_input(1));
  work_->on_source_end(1);
  EXPECT_FALSE(work_->wants_input(1));
}

TEST_F(WorkerWorkTest, BytesOfALinkDoNotKeepAnotherWaiting) {
  with({.links = 2});
  EXPECT_EQ(poll(0).kind, ActionKind::start);
  ASSERT_TRUE(work_->on_hello(0, {.concurrency = 100, .role = "", .library = ""}));
  ASSERT_TRUE(work_->on_credit(0, {.concurrency = 100, .records = 100, .bytes = 20}));
  work_->on_batch(lines(1, 10), {.link = 0});
  work_->on_batch(RecordBatch::of_delimited(11, '\n', std::string(50, 'x') + "\n").value(), {.link = 1});
  EXPECT_THAT(given(0), ElementsAre(1, 2, 3, 4, 5, 11)) << "ten bytes of each, or one longer record";
}

TEST_F(WorkerWorkTest, WhatComesBackFromALostWorkerIsStillOfItsLink) {
  with({.links = 2, .restart = Restart::on_failure});
  start(0, 4);
  work_->on_batch(lines(1, 10), {.link = 0});
  work_->on_batch(lines(11, 10), {.link = 1});
  EXPECT_THAT(given(0), ElementsAre(1, 2, 11, 12));
  EXPECT_TRUE(done(0, 1));
  ended(0, EndKind::lost);
  EXPECT_EQ(work_->waiting(1), 10u);
  rest();
  start(0, 4);
  EXPECT_THAT(given(0), ElementsAre(2, 3, 11, 12));
}

TEST_F(WorkerWorkTest, OneThatSettlesRecordsOfSeveralLinksTogetherJoinsThem) {
  with({.links = 2});
  start(0, 4);
  work_->on_batch(lines(1, 100), {.link = 0});
  work_->on_batch(lines(101, 2), {.link = 1});
  EXPECT_THAT(given(0), ElementsAre(1, 2, 101, 102));
  EXPECT_FALSE(work_->joins());
  EXPECT_TRUE(done(0, 1));
  EXPECT_TRUE(done(0, 101));
  EXPECT_THAT(given(0), ElementsAre(3));
  EXPECT_TRUE(work_->joins());
  EXPECT_TRUE(work_->is_full(0)) << "two of it are held, and 97 wait";
  EXPECT_FALSE(work_->is_full(1)) << "nothing of it waits";
  EXPECT_TRUE(work_->is_steady());
  EXPECT_TRUE(done(0, 102));
  EXPECT_THAT(given(0), IsEmpty());
  EXPECT_FALSE(work_->joins()) << "it has settled one alone";
}

TEST_F(WorkerWorkTest, AStageThatWillDoSomethingByItselfIsNotSteady) {
  with({.links = 2, .retries = 1});
  EXPECT_FALSE(work_->is_steady()) << "its worker is to be started";
  start(0, 4);
  EXPECT_TRUE(work_->is_steady());
  work_->on_batch(lines(1, 1), {.link = 0});
  EXPECT_THAT(given(0), ElementsAre(1));
  EXPECT_TRUE(fail(0, 1));
  EXPECT_FALSE(work_->is_steady()) << "a record rests";
  rest();
  EXPECT_THAT(given(0), ElementsAre(1));
  EXPECT_TRUE(work_->is_steady());
}

TEST_F(WorkerWorkTest, WithSeveralLinksNoneIsSuspectedAndWhatWasWithTooManyIsCondemned) {
  with({.links = 2, .buries = true, .restart = Restart::on_failure});
  work_->on_batch(lines(1, 1), {.link = 0});
  work_->on_batch(lines(2, 1), {.link = 1});
  for (int times = 0; times < 4; ++times) {
    start(0, 4);
    EXPECT_THAT(given(0), ElementsAre(1, 2)) << "a half needs its other half, each time";
    ended(0, EndKind::lost);
    rest();
  }
  for (RecordId id : {1, 2}) {
    auto dead = work_->poll_dead();
    ASSERT_TRUE(dead);
    EXPECT_EQ(dead->record.first(), id);
    EXPECT_EQ(dead->attempts, 4u);
    work_->on_buried();
  }
}

// --- the end ------------------------------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, TellsTheEndWithRecordsInHandSinceAWorkerMayWaitForMore) {
  with({});
  start(0);
  work_->on_batch(lines(1, 2));
  EXPECT_EQ(given(0).size(), 2u);
  work_->on_source_end();
  EXPECT_EQ(poll(0).kind, ActionKind::end);
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
  EXPECT_FALSE(work_->on_finished(0)) << "it has records in hand";
  EXPECT_TRUE(done(0, 1, 2));
  EXPECT_TRUE(work_->on_finished(0));
  EXPECT_FALSE(work_->may_write(0, 0));
  ended(0, EndKind::succeeded);
  EXPECT_TRUE(work_->finished());
  EXPECT_FALSE(work_->broken());
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
}

TEST_F(WorkerWorkTest, StartsAWorkerThatHadItsEndAgainWhenRecordsComeBack) {
  with({.workers = 2});
  start(0, 1);
  start(1, 1);
  work_->on_batch(lines(1, 2));
  EXPECT_THAT(given(0), ElementsAre(1));
  EXPECT_THAT(given(1), ElementsAre(2));
  work_->on_source_end();
  for (WorkerWork::Worker worker : {0u, 1u}) EXPECT_EQ(poll(worker).kind, ActionKind::end);
  EXPECT_TRUE(done(0, 1));
  EXPECT_TRUE(work_->on_finished(0));
  ended(0, EndKind::succeeded);
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
  ended(1, EndKind::lost);
  EXPECT_FALSE(work_->finished());
  start(0, 1);
  EXPECT_EQ(poll(0).batch.first(), 2u);
  EXPECT_EQ(poll(0).kind, ActionKind::end);
  EXPECT_TRUE(done(0, 2));
  EXPECT_TRUE(work_->on_finished(0));
  ended(0, EndKind::succeeded);
  EXPECT_TRUE(work_->finished());
}

TEST_F(WorkerWorkTest, AWorkerThatLeavesIsToldTheEndAndReplacedOnlyIfAlways) {
  for (Restart restart : {Restart::never, Restart::on_failure, Restart::always}) {
    with({.workers = 2, .restart = restart});
    start(0);
    start(1);
    EXPECT_TRUE(work_->on_leave(0));
    EXPECT_FALSE(work_->on_finished(0)) << "records may be on their way";
    EXPECT_EQ(poll(0).kind, ActionKind::end);
    EXPECT_TRUE(work_->on_finished(0));
    ended(0, EndKind::succeeded);
    EXPECT_FALSE(work_->broken());
    EXPECT_EQ(poll(0).kind, restart == Restart::always ? ActionKind::start : ActionKind::nothing);
    work_->on_batch(lines(1, 1));
    EXPECT_THAT(given(1), ElementsAre(1));
  }
}

// --- what a worker may not say ------------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, RefusesWhatAWorkerMayNotSay) {
  with({.workers = 2});
  EXPECT_EQ(poll(0).kind, ActionKind::start);
  EXPECT_THAT(work_->on_credit(0, {}).error(), HasSubstr("before it said hello"));
  EXPECT_THAT(work_->on_leave(0).error(), HasSubstr("before it said hello"));
  EXPECT_THAT(done(0, 1).error(), HasSubstr("before it said hello"));
  EXPECT_THAT(work_->may_write(0, 0).error(), HasSubstr("before it said hello"));
  EXPECT_THAT(work_->on_hello(0, {.major = 2, .role = "", .library = ""}).error(), HasSubstr("version 2"));
  hello(0);
  EXPECT_THAT(work_->on_hello(0, {.role = "", .library = ""}).error(), HasSubstr("twice"));
  EXPECT_EQ(poll(1).kind, ActionKind::start);
  work_->on_batch(lines(1, 2));
  EXPECT_THAT(given(0), ElementsAre(1));
  EXPECT_TRUE(work_->may_write(0, 1));
  EXPECT_TRUE(work_->may_write(0, 0));
  EXPECT_THAT(work_->may_write(0, 2).error(), HasSubstr("an output for record 2, which it does not have"));
  EXPECT_THAT(done(0, 2).error(), HasSubstr("record 2 is done, which it does not have"));
  EXPECT_THAT(done(0, 1, 2).error(), HasSubstr("the records 1 to 2 are done"));
  EXPECT_THAT(fail(0, 7).error(), HasSubstr("record 7 failed, which it does not have"));
  EXPECT_THAT(work_->on_finished(0).error(), HasSubstr("with 1 record in hand"));
  EXPECT_THAT(work_->on_hello(1, {.source = true, .role = "", .library = ""}).error(), HasSubstr("it is a source"));
}

TEST_F(WorkerWorkTest, KillsAWorkerThatBreaksARuleAndRunsItsRecordsElsewhere) {
  with({.workers = 2});
  start(0, 1);
  start(1, 1);
  work_->on_batch(lines(1, 2));
  EXPECT_THAT(given(0), ElementsAre(1));
  EXPECT_THAT(given(1), ElementsAre(2));
  work_->doom(0, "it wrote garbage");
  EXPECT_FALSE(done(0, 1)) << "what it says counts no more";
  EXPECT_EQ(poll(0).kind, ActionKind::kill);
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
  ended(0, EndKind::lost);
  EXPECT_TRUE(done(1, 2));
  EXPECT_THAT(given(1), ElementsAre(1));
}

TEST_F(WorkerWorkTest, DoesNotKillAWorkerThatHasEndedByItselfMeanwhile) {
  with({.workers = 1, .restart = Restart::on_failure});
  start(0, 1);
  work_->doom(0, "it wrote garbage");
  ended(0, EndKind::lost);
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
}

TEST_F(WorkerWorkTest, KillsAWorkerThatDoesNotSayHello) {
  with({.hello_wait = 30s});
  EXPECT_EQ(poll(0).kind, ActionKind::start);
  EXPECT_EQ(work_->poll_deadline(), now_ + 30s);
  now_ += 29s;
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
  now_ += 1s;
  EXPECT_EQ(poll(0).kind, ActionKind::kill);
  ended(0, EndKind::lost);
  ASSERT_TRUE(work_->broken());
  EXPECT_THAT(work_->broken()->end.why, HasSubstr("did not say hello within 30 s"));
}

// --- records that fail --------------------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, ARecordThatFailedIsTriedAgainAfterARestAndThenBreaksTheStage) {
  with({.retries = 1});
  start(0);
  work_->on_batch(lines(1, 1));
  EXPECT_THAT(given(0), ElementsAre(1));
  EXPECT_TRUE(fail(0, 1));
  work_->on_source_end();
  EXPECT_EQ(poll(0).kind, ActionKind::nothing) << "no end while a record rests";
  now_ = work_->poll_deadline().value();
  WorkerWork::Action again = poll(0);
  EXPECT_EQ(again.attempt, 2u);
  EXPECT_TRUE(fail(0, 1));
  ASSERT_TRUE(work_->broken());
  EXPECT_EQ(work_->broken()->why, Why::record_failed);
  EXPECT_EQ(work_->broken()->attempts, 2u);
  EXPECT_EQ(work_->broken()->end.why, "no such user");
}

TEST_F(WorkerWorkTest, ARecordThatFailedForGoodIsBuriedAndTheOthersGoOn) {
  with({.buries = true});
  start(0);
  work_->on_batch(lines(1, 2));
  EXPECT_THAT(given(0), ElementsAre(1, 2));
  EXPECT_TRUE(fail(0, 1));
  EXPECT_TRUE(done(0, 2));
  work_->on_source_end();
  auto dead = work_->poll_dead();
  ASSERT_TRUE(dead);
  EXPECT_EQ(dead->record.first(), 1u);
  EXPECT_EQ(dead->attempts, 1u);
  EXPECT_EQ(poll(0).kind, ActionKind::end);
  EXPECT_TRUE(work_->on_finished(0));
  ended(0, EndKind::succeeded);
  EXPECT_FALSE(work_->finished()) << "it is not buried yet";
  work_->on_buried();
  EXPECT_TRUE(work_->finished());
}

TEST_F(WorkerWorkTest, WithLanesWhatRestsHoldsBackTheRecordsBehindIt) {
  with({.workers = 2, .lanes = true, .retries = 1});
  start(0);
  start(1);
  work_->on_batch(lines(1, 1), {.lane = 0});
  EXPECT_THAT(given(0), ElementsAre(1));
  EXPECT_TRUE(fail(0, 1));
  work_->on_batch(lines(2, 1), {.lane = 0});
  work_->on_batch(lines(3, 1), {.lane = 1});
  EXPECT_THAT(given(0), IsEmpty());
  EXPECT_THAT(given(1), ElementsAre(3));
  rest();
  EXPECT_THAT(given(0), ElementsAre(1, 2));
}

// --- workers that die ---------------------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, OthersGoOnWithTheRecordsOfALostWorkerOldestFirst) {
  with({.workers = 2});
  start(0, 2);
  start(1, 2);
  work_->on_batch(lines(1, 10));
  EXPECT_THAT(given(0), ElementsAre(1, 2));
  EXPECT_THAT(given(1), ElementsAre(3, 4));
  EXPECT_TRUE(done(0, 2));
  ended(0, EndKind::failed);
  EXPECT_FALSE(work_->broken());
  EXPECT_TRUE(done(1, 3, 2));
  EXPECT_THAT(given(1), ElementsAre(1, 5, 6, 7));
  EXPECT_EQ(work_->retried(), 1u);
  EXPECT_EQ(poll(0).kind, ActionKind::nothing) << "restart: never";
  ended(1, EndKind::lost);
  ASSERT_TRUE(work_->broken());
  EXPECT_EQ(work_->broken()->why, Why::nobody_left);
  EXPECT_EQ(work_->broken()->in_hand, 4u);
}

TEST_F(WorkerWorkTest, AWorkerThatFailsIsReplacedAfterARestThatGrows) {
  with({.restart = Restart::on_failure});
  work_->on_batch(lines(1, 100));
  for (Duration expected : {100ms, 200ms}) {
    start(0, 1);
    EXPECT_EQ(given(0).size(), 1u);
    ended(0, EndKind::failed);
    EXPECT_EQ(poll(0).kind, ActionKind::nothing);
    EXPECT_EQ(work_->poll_deadline(), now_ + expected);
    now_ += expected;
  }
  start(0, 1);
  EXPECT_TRUE(done(0, given(0).front()));
  ended(0, EndKind::failed);
  EXPECT_EQ(work_->poll_deadline(), now_ + 100ms) << "it had done something";
}

TEST_F(WorkerWorkTest, ProcessesThatEndWithoutDoingAnythingBreakTheStage) {
  with({.restart = Restart::always});
  for (int ending = 1; ending <= 6; ++ending) {
    EXPECT_EQ(poll(0).kind, ActionKind::start);
    ended(0, EndKind::failed);
    EXPECT_EQ(work_->broken().has_value(), ending == 6);
    rest();
  }
  EXPECT_EQ(work_->broken()->why, Why::idle_endings);
  EXPECT_FALSE(work_->broken()->said_hello);
}

TEST_F(WorkerWorkTest, FindsTheRecordThatEndsItsWorkerAndBlamesNoOther) {
  with({.buries = true, .restart = Restart::on_failure, .part_max = 8});
  work_->on_batch(lines(1, 100));
  work_->on_source_end();
  constexpr RecordId kPoison = 37;
  std::set<RecordId> settled;
  std::optional<WorkerWork::Dead> dead;
  int deaths = 0;
  for (int step = 0; step < 1000 && !work_->finished(); ++step) {
    rest();
    WorkerWork::Action action = poll(0);
    if (action.kind == ActionKind::start) hello(0, 16);
    if (action.kind == ActionKind::end) {
      EXPECT_TRUE(work_->on_finished(0));
      ended(0, EndKind::succeeded);
    }
    if (action.kind != ActionKind::give) continue;
    RecordId first = action.batch.first(), last = action.batch.last();
    if (first <= kPoison && kPoison <= last) {
      ended(0, EndKind::lost);
      ++deaths;
    } else {
      EXPECT_TRUE(done(0, first, action.batch.count()));
      for (RecordId id = first; id <= last; ++id) EXPECT_TRUE(settled.insert(id).second);
    }
    if (auto found = work_->poll_dead()) {
      dead = std::move(found);
      work_->on_buried();
    }
  }
  EXPECT_TRUE(work_->finished());
  EXPECT_EQ(settled.size(), 99u);
  ASSERT_TRUE(dead);
  EXPECT_EQ(dead->record.first(), kPoison);
  EXPECT_EQ(dead->attempts, 4u);
  EXPECT_EQ(deaths, 4);
}

TEST_F(WorkerWorkTest, WithLanesNobodyTakesOverTheRecordsOfAWorkerThatIsNotReplaced) {
  with({.workers = 2, .lanes = true});
  start(0);
  start(1);
  ended(0, EndKind::lost);
  ASSERT_TRUE(work_->broken());
  EXPECT_EQ(work_->broken()->why, Why::nobody_left);
}

TEST_F(WorkerWorkTest, OneThatEndsBehindTheEndOfItsInputBeforeItHadFinishedBreaksTheStage) {
  for (EndKind kind : {EndKind::lost, EndKind::failed, EndKind::succeeded}) {
    with({.restart = Restart::on_failure});
    start(0);
    work_->on_source_end();
    EXPECT_EQ(poll(0).kind, ActionKind::end);
    ended(0, kind);
    ASSERT_TRUE(work_->broken());
    EXPECT_EQ(work_->broken()->why, Why::end_lost);
  }
}

// --- sources ------------------------------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, ASourceEndsWhenItHasFinished) {
  with({.workers = 2});
  hello_source(0);
  hello_source(1);
  EXPECT_FALSE(work_->wants_input());
  EXPECT_TRUE(work_->may_write(0, 0));
  EXPECT_TRUE(work_->on_finished(0));
  ended(0, EndKind::succeeded);
  EXPECT_FALSE(work_->finished());
  EXPECT_EQ(poll(0).kind, ActionKind::nothing);
  EXPECT_TRUE(work_->on_finished(1));
  ended(1, EndKind::succeeded);
  EXPECT_TRUE(work_->finished());
}

TEST_F(WorkerWorkTest, ASourceThatIsLostBreaksTheStageUnlessItMayBeginAgain) {
  for (EndKind kind : {EndKind::lost, EndKind::failed, EndKind::succeeded}) {
    with({});
    hello_source(0);
    ended(0, kind);
    ASSERT_TRUE(work_->broken());
    EXPECT_EQ(work_->broken()->why, Why::source_lost);
    with({.restart = Restart::on_failure});
    hello_source(0);
    ended(0, kind);
    EXPECT_FALSE(work_->broken());
    rest();
    EXPECT_EQ(poll(0).kind, ActionKind::start);
  }
}

// --- any order of events ------------------------------------------------------------------------------------------

// Workers that do whatever the protocol allows, and die at any moment. Each record is in one hand at most, and is
// settled or buried once; nothing is forgotten, and every run ends.
class RandomWorkers {
 public:
  explicit RandomWorkers(std::uint64_t seed)
      : random_(seed),
        options_{.workers = static_cast<std::uint32_t>(1 + random_.below(4)),
                 .lanes = random_.below(4) == 0,
                 .links = static_cast<std::uint32_t>(1 + random_.below(3)),
                 .retries = static_cast<std::uint32_t>(random_.below(3)),
                 .buries = true,
                 .restart = random_.below(2) == 0 ? Restart::on_failure : Restart::always,
                 .part_max = static_cast<std::uint32_t>(1 + random_.below(4)),
                 .endings_max = 1'000'000},
        work_(options_),
        hands_(options_.workers) {}

  void run() {
    for (int step = 0; step < 20'000 && !work_.finished(); ++step) {
      now_ += std::chrono::milliseconds(random_.below(200));
      auto link = static_cast<LinkNumber>(random_.below(options_.links));
      if (work_.wants_input(link) && random_.below(3) == 0) read(link);
      WorkerWork::Worker worker = static_cast<WorkerWork::Worker>(random_.below(options_.workers));
      act(worker);
      if (testing::Test::HasFatalFailure()) return;
      live(worker, step);
      if (testing::Test::HasFatalFailure()) return;
      while (auto dead = work_.poll_dead()) {
        settle(dead->record.first());
        if (dead->end.kind == EndKind::lost) {
          ASSERT_EQ(dead->attempts, options_.losses + 1);
        }
        work_.on_buried();
      }
      ASSERT_FALSE(work_.broken());
    }
    ASSERT_TRUE(work_.finished());
    ASSERT_EQ(settled_.size(), next_ - 1);
  }

 private:
  struct Hand {
    std::set<RecordId> records;
    bool runs = false;
    bool said_hello = false;
    bool told_end = false;
    bool left = false;
    bool doomed = false;
  };

  void read(LinkNumber link) {
    if (next_ > 200) return work_.on_source_end(link);
    auto count = static_cast<std::uint32_t>(1 + random_.below(20));
    auto lane = static_cast<WorkerWork::Worker>(options_.lanes ? random_.below(options_.workers) : 0);
    for (RecordId id = next_; id < next_ + count; ++id) {
      lane_[id] = lane;
      link_[id] = link;
    }
    work_.on_batch(lines(next_, count), {.lane = lane, .link = link});
    next_ += count;
  }

  void settle(RecordId id) { ASSERT_TRUE(settled_.insert(id).second) << id << " twice"; }

  void act(WorkerWork::Worker worker) {
    Hand& hand = hands_[worker];
    WorkerWork::Action action = work_.poll(worker, kNoLimit, now_);
    switch (action.kind) {
      case ActionKind::nothing:
        return;
      case ActionKind::start:
        ASSERT_FALSE(hand.runs);
        hand = {.records = {}, .runs = true};
        return;
      case ActionKind::end:
        hand.told_end = true;
        return;
      case ActionKind::kill:
        return end_process(worker, EndKind::lost);
      case ActionKind::give:
        break;
    }
    ASSERT_FALSE(hand.told_end);
    for (RecordId id = action.batch.first(); id <= action.batch.last(); ++id) {
      for (const Hand& other : hands_) ASSERT_FALSE(other.records.contains(id)) << id;
      ASSERT_FALSE(settled_.contains(id)) << id;
      if (options_.lanes) {
        ASSERT_EQ(lane_[id], worker);
      }
      hand.records.insert(id);
    }
    ASSERT_LE(hand.records.size(), options_.links == 1 ? kGranted : kConcurrency);
    for (LinkNumber link = 0; link < options_.links; ++link)
      ASSERT_EQ(held_of(link), work_.in_hand_of(link)) << "of link " << link;
  }

  std::uint64_t held_of(LinkNumber link) const {
    std::uint64_t held = 0;
    for (const Hand& hand : hands_)
      held += static_cast<std::uint64_t>(
          std::ranges::count_if(hand.records, [&](RecordId id) { return link_.at(id) == link; }));
    return held;
  }

  void live(WorkerWork::Worker worker, int step) {
    Hand& hand = hands_[worker];
    if (!hand.runs || hand.doomed) return;
    if (!hand.said_hello) {
      hand.said_hello = true;
      ASSERT_TRUE(work_.on_hello(worker, {.concurrency = kConcurrency, .role = "", .library = ""}));
      ASSERT_TRUE(work_.on_credit(worker, {.concurrency = kConcurrency, .records = kGranted, .bytes = 1 << 20}));
      return;
    }
    std::uint64_t luck = random_.below(100);
    // One that has nothing in hand and was told the end would take with it what it has not written yet.
    bool may_die = step < 10'000 && !(hand.told_end && hand.records.empty());
    if (luck < 4 && may_die) return end_process(worker, luck < 2 ? EndKind::lost : EndKind::failed);
    if (luck == 4 && may_die) {
      hand.doomed = true;
      return work_.doom(worker, "it wrote garbage");
    }
    if (luck == 5 && !hand.left && options_.restart == Restart::always) {
      hand.left = true;
      ASSERT_TRUE(work_.on_leave(worker));
      return;
    }
    if (hand.records.empty()) {
      if (!hand.told_end) return;
      ASSERT_TRUE(work_.on_finished(worker));
      return end_process(worker, EndKind::succeeded);
    }
    RecordId id = *std::next(hand.records.begin(), static_cast<std::ptrdiff_t>(random_.below(hand.records.size())));
    auto may = work_.may_write(worker, id);
    ASSERT_TRUE(may) << may.error();
    hand.records.erase(id);
    if (luck < 15) {
      ASSERT_TRUE(work_.on_failed(worker, {.record = id, .reason = "why"}, now_));
    } else {
      ASSERT_TRUE(work_.on_done(worker, {.first = id, .count = 1}, now_));
      settle(id);
    }
    ASSERT_EQ(work_.in_hand(worker), hand.records.size());
  }

  void end_process(WorkerWork::Worker worker, EndKind kind) {
    hands_[worker] = {};
    work_.on_ended(worker, end(kind), now_);
  }

  static constexpr std::uint32_t kGranted = 6, kConcurrency = 2;

  SeededRandom random_;
  WorkerWorkOptions options_;
  WorkerWork work_;
  std::vector<Hand> hands_;
  std::set<RecordId> settled_;
  std::map<RecordId, WorkerWork::Worker> lane_;
  std::map<RecordId, LinkNumber> link_;
  RecordId next_ = 1;
  TimePoint now_ = TimePoint{} + 1h;
};

TEST(WorkerWorkRandom, LosesAndRepeatsNothing) {
  std::uint64_t seed = random_seed();
  for (std::uint64_t round = 0; round < 300; ++round) {
    SCOPED_TRACE(seed + round);
    RandomWorkers(seed + round).run();
    if (testing::Test::HasFatalFailure()) return;
  }
}

// --- another number of workers ------------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, MoreWorkersTakeTheirShare) {
  with({.workers = 1});
  start(0, 2);
  work_->on_batch(lines(1, 4));
  EXPECT_THAT(given(0), ElementsAre(1, 2));
  work_->set_workers(2);
  start(1, 2);
  EXPECT_THAT(given(1), ElementsAre(3, 4));
}

TEST_F(WorkerWorkTest, AWorkerTooManyIsToldTheEndAndSettlesWhatItHas) {
  with({.workers = 2});
  start(0, 1);
  start(1, 1);
  work_->on_batch(lines(1, 3));
  EXPECT_THAT(given(0), ElementsAre(1));
  EXPECT_THAT(given(1), ElementsAre(2));
  work_->set_workers(1);
  EXPECT_EQ(poll(1).kind, ActionKind::end);
  EXPECT_TRUE(done(1, 2));
  EXPECT_TRUE(work_->on_finished(1));
  ended(1, EndKind::succeeded);
  EXPECT_EQ(poll(1).kind, ActionKind::nothing);
  EXPECT_TRUE(done(0, 1));
  EXPECT_THAT(given(0), ElementsAre(3));
  EXPECT_TRUE(done(0, 3));
  work_->on_source_end();
  EXPECT_EQ(poll(0).kind, ActionKind::end);
  EXPECT_TRUE(work_->on_finished(0));
  ended(0, EndKind::succeeded);
  EXPECT_TRUE(work_->finished());
}

TEST_F(WorkerWorkTest, WhatAWorkerTooManyHadInHandIsDoneByTheOthers) {
  with({.workers = 2});
  start(0, 1);
  start(1, 1);
  work_->on_batch(lines(1, 2));
  given(0);
  given(1);
  work_->set_workers(1);
  EXPECT_EQ(poll(1).kind, ActionKind::end);
  ended(1, EndKind::lost);
  EXPECT_FALSE(work_->broken());
  EXPECT_TRUE(done(0, 1));
  EXPECT_THAT(given(0), ElementsAre(2));
}

TEST_F(WorkerWorkTest, AWorkerThatWasTooManyBeginsAnewWhenItIsWantedAgain) {
  with({.workers = 2});
  start(0);
  start(1);
  work_->on_batch(lines(1, 8));
  given(1);
  work_->set_workers(1);
  EXPECT_EQ(poll(1).kind, ActionKind::end);
  ended(1, EndKind::lost);
  work_->set_workers(2);
  start(1);
}

TEST_F(WorkerWorkTest, AWorkerThatWasNeverStartedAndIsNotWantedHoldsUpNothing) {
  with({.workers = 2});
  start(0);
  work_->set_workers(1);
  work_->on_source_end();
  EXPECT_EQ(poll(0).kind, ActionKind::end);
  EXPECT_TRUE(work_->on_finished(0));
  ended(0, EndKind::succeeded);
  EXPECT_TRUE(work_->finished());
}

// --- workers that join and leave ----------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, AStageThatMayBeJoinedWaitsForTheFirst) {
  with({.workers = 0, .joins = true});
  EXPECT_FALSE(work_->wants_input());
  EXPECT_FALSE(work_->finished());
  work_->on_joined(0);
  start(0);
  EXPECT_TRUE(work_->wants_input());
  work_->on_batch(lines(1, 3));
  EXPECT_THAT(given(0), ElementsAre(1, 2, 3));
}

TEST_F(WorkerWorkTest, WhoLeavesFinishesWhatItHasAndIsNotStartedAgain) {
  with({.workers = 1, .joins = true, .restart = Restart::always});
  start(0, 1);
  work_->on_joined(1);
  start(1, 1);
  work_->on_batch(lines(1, 2));
  EXPECT_THAT(given(0), ElementsAre(1));
  EXPECT_THAT(given(1), ElementsAre(2));
  work_->on_leaving(1);
  EXPECT_EQ(poll(1).kind, ActionKind::end);
  ASSERT_TRUE(done(1, 2));
  ASSERT_TRUE(work_->on_finished(1));
  ended(1, EndKind::succeeded);
  rest();
  EXPECT_TRUE(work_->retired(1));
  EXPECT_EQ(poll(1).kind, ActionKind::nothing);
}

TEST_F(WorkerWorkTest, WhatAWorkerThatHasJoinedHadInHandRunsElsewhereWhenItIsLost) {
  with({.workers = 0, .joins = true});
  work_->on_joined(0);
  start(0);
  work_->on_batch(lines(1, 2));
  EXPECT_THAT(given(0), ElementsAre(1, 2));
  ended(0, EndKind::lost);
  work_->on_leaving(0);
  EXPECT_TRUE(work_->retired(0));
  EXPECT_FALSE(work_->broken()) << "nobody is left, and somebody may come";
  work_->on_source_end();
  EXPECT_FALSE(work_->finished());
  work_->on_joined(0);  // its number is free
  start(0);
  EXPECT_THAT(given(0), ElementsAre(1, 2));
}

TEST_F(WorkerWorkTest, AJoinedWorkerLostAsItLeavesBreaksNothing) {
  with({.workers = 0, .joins = true});
  work_->on_joined(0);
  start(0);
  work_->on_leaving(0);
  EXPECT_EQ(poll(0).kind, ActionKind::end);
  ended(0, EndKind::lost);
  EXPECT_FALSE(work_->broken());
  EXPECT_TRUE(work_->retired(0));
}

TEST_F(WorkerWorkTest, AWorkerThatIsLostBeforeItBeganKeepsNothingOpen) {
  with({.workers = 0, .joins = true});
  work_->on_joined(0);
  start(0);
  work_->on_joined(1);
  work_->on_leaving(1);
  EXPECT_EQ(poll(1).kind, ActionKind::nothing);
  work_->on_source_end();
  EXPECT_EQ(poll(0).kind, ActionKind::end);
  ASSERT_TRUE(work_->on_finished(0));
  ended(0, EndKind::succeeded);
  EXPECT_TRUE(work_->finished());
}

TEST_F(WorkerWorkTest, ASourceThatHasJoinedAndIsLostBreaksTheStage) {
  with({.workers = 0, .joins = true});
  work_->on_joined(0);
  hello_source(0);
  ended(0, EndKind::lost);
  ASSERT_TRUE(work_->broken());
  EXPECT_EQ(work_->broken()->why, Why::source_lost);
}

TEST_F(WorkerWorkTest, AJoinedWorkerWithNothingInHandWaitsForWhatOthersMayLose) {
  with({.workers = 0, .joins = true});
  for (WorkerWork::Worker worker : {0u, 1u}) {
    work_->on_joined(worker);
    start(worker, 1);
  }
  work_->on_batch(lines(1, 1));
  EXPECT_THAT(given(0), ElementsAre(1));
  work_->on_source_end();
  EXPECT_EQ(poll(1).kind, ActionKind::nothing);
  EXPECT_EQ(poll(0).kind, ActionKind::end) << "it may wait for more before it settles";
  ended(0, EndKind::lost);
  EXPECT_EQ(poll(1).kind, ActionKind::give);
  EXPECT_EQ(poll(1).kind, ActionKind::end);
}

// --- workers that are quiet ---------------------------------------------------------------------------------------

TEST_F(WorkerWorkTest, AWorkerThatSettlesNothingOfWhatItHasIsToldOfOnce) {
  with({.quiet_wait = 60s});
  start(0, 3);
  EXPECT_EQ(work_->quiet_deadline(), std::nullopt);
  work_->on_batch(lines(1, 3));
  given(0);
  EXPECT_EQ(work_->quiet_deadline(), now_ + 60s);
  now_ += 59s;
  EXPECT_FALSE(work_->poll_quiet(now_));
  now_ += 1s;
  auto quiet = work_->poll_quiet(now_);
  ASSERT_TRUE(quiet);
  EXPECT_EQ(quiet->in_hand, 3u);
  EXPECT_TRUE(quiet->was_idle);
  now_ += 1h;
  EXPECT_FALSE(work_->poll_quiet(now_));
  EXPECT_EQ(work_->quiet_deadline(), std::nullopt);
}

TEST_F(WorkerWorkTest, WhatAWorkerSettlesBreaksItsSilence) {
  with({.quiet_wait = 60s});
  start(0, 3);
  work_->on_batch(lines(1, 3));
  given(0);
  now_ += 59s;
  ASSERT_TRUE(done(0, 2));
  EXPECT_EQ(work_->quiet_deadline(), now_ + 60s);
  now_ += 60s;
  auto quiet = work_->poll_quiet(now_);
  ASSERT_TRUE(quiet);
  EXPECT_FALSE(quiet->was_idle);
}

TEST_F(WorkerWorkTest, SilenceOfAWorkerWhomNobodyHearsDoesNotCount) {
  with({.quiet_wait = 60s});
  start(0, 1);
  work_->on_deaf(now_);
  EXPECT_EQ(work_->quiet_deadline(), std::nullopt);
  work_->on_batch(lines(1, 1));
  given(0);
  now_ += 50s;
  work_->on_deaf(now_);
  EXPECT_EQ(work_->quiet_deadline(), now_ + 60s);
  ASSERT_TRUE(done(0, 1));
  EXPECT_EQ(work_->quiet_deadline(), std::nullopt);
}

}  // namespace
}  // namespace sluice::flow
