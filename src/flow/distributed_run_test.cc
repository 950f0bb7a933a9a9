#include "flow/distributed_run.h"

#include <gmock/gmock.h>

#include <csignal>

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const TimePoint kStart{};

StageEnd exited(int code) { return {.status = exec::ProcessStatus::exited(code)}; }

NodeId node_id() {
  NodeId id;
  id.bytes[0] = 1;
  return id;
}

// stdin of the client -> stage 1 on n1 -> stdout of the client
DistributedRun one_remote_stage(std::optional<Duration> timeout = {}) {
  PartGraph graph{.parts = {{.host = {}, .stages = {}, .outputs = {{.to = 0, .links = {0}}}},
                            {.host = node_id(),
                             .stages = {0},
                             .inputs = {{.to = 0, .links = {0}}},
                             .outputs = {{.from = 0, .links = {1}}}},
                            {.host = {}, .stages = {}, .inputs = {{.from = 0, .links = {1}}}}},
                  .links = {{0, 1}, {1, 2}}};
  return DistributedRun({.graph = graph, .host_names = {"laptop", "n1", "laptop"}, .stages = 1, .timeout = timeout},
                        kStart);
}

std::vector<DistributedAction> drain(DistributedRun& run) {
  std::vector<DistributedAction> actions;
  while (auto action = run.poll_action()) actions.push_back(std::move(*action));
  return actions;
}

void start(DistributedRun& run) {
  for (PartIndex part : {0u, 1u, 2u}) run.on_prepared(part, kStart);
  for (PartIndex part : {0u, 1u, 2u}) run.on_connected(part, kStart);
  for (PartIndex part : {0u, 1u, 2u}) run.on_started(part, kStart);
  drain(run);
}

TEST(DistributedRun, TheWordOfAPartCountsWhereALinkHasPassedItOnBefore) {
  DistributedRun run = one_remote_stage();
  start(run);
  run.on_link_lost(1, "worker 1 was killed", kStart);
  run.on_part_failed(1, 137, "worker 1 was killed (on n1)", kStart);
  EXPECT_EQ(run.message(), "worker 1 was killed (on n1)");
  run.on_part_failed(0, 9, "another one", kStart);
  EXPECT_EQ(run.message(), "worker 1 was killed (on n1)") << "what follows from it is not the cause";
  run.on_part_over(2, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 137);
}

TEST(DistributedRun, TheWordOfAPartCountsBeforeAllHaveStartedToo) {
  DistributedRun run = one_remote_stage();
  run.on_link_lost(1, "worker 1 was killed", kStart);
  run.on_part_failed(1, 137, "worker 1 was killed (on n1)", kStart);
  for (PartIndex part : {0u, 2u}) run.on_part_over(part, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 137);
  EXPECT_EQ(run.message(), "worker 1 was killed (on n1)");
}

TEST(DistributedRun, NothingStartsBeforeEveryLinkIsUp) {
  DistributedRun run = one_remote_stage();
  run.on_prepared(0, kStart);
  run.on_prepared(2, kStart);
  EXPECT_THAT(drain(run), IsEmpty());
  run.on_prepared(1, kStart);
  EXPECT_THAT(drain(run), ElementsAre(ConnectPart{0}, ConnectPart{1}, ConnectPart{2}));
  run.on_connected(0, kStart);
  run.on_connected(1, kStart);
  EXPECT_THAT(drain(run), IsEmpty());
  run.on_connected(2, kStart);
  EXPECT_THAT(drain(run), ElementsAre(StartPart{0}, StartPart{1}, StartPart{2}));
}

TEST(DistributedRun, IsOverWhenTheOutputHasBeenDelivered) {
  DistributedRun run = one_remote_stage();
  start(run);
  run.on_worker_ended(1, 0, exited(0), kStart);
  run.on_part_over(0, kStart);
  run.on_part_over(1, kStart);
  EXPECT_FALSE(run.finished());
  run.on_part_over(2, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.end(), DistributedEnd::completed);
  EXPECT_EQ(run.status(), 0);
}

TEST(DistributedRun, APartThatIsOverWithoutAWordOfItsProgramsIsNoSuccess) {
  DistributedRun run = one_remote_stage();
  start(run);
  for (PartIndex part : {0u, 1u, 2u}) run.on_part_over(part, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 125);
  EXPECT_EQ(run.message(), "n1 did not say how stage 1 ended");
}

TEST(DistributedRun, AStageThatEndsBeforeAllHaveStartedCounts) {
  DistributedRun run = one_remote_stage();
  for (PartIndex part : {0u, 1u, 2u}) run.on_prepared(part, kStart);
  for (PartIndex part : {0u, 1u, 2u}) run.on_connected(part, kStart);
  run.on_started(1, kStart);
  run.on_worker_ended(1, 0, exited(3), kStart);
  run.on_part_over(1, kStart);
  run.on_started(0, kStart);
  run.on_started(2, kStart);
  run.on_part_over(0, kStart);
  run.on_part_over(2, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 3);
}

TEST(DistributedRun, APartThatCantBePreparedUndoesAll) {
  DistributedRun run = one_remote_stage();
  run.on_prepared(0, kStart);
  run.on_part_failed(1, 127, "stage 1: nosuch: command not found", kStart);
  EXPECT_THAT(drain(run), ElementsAre(EndPart{2}, EndPart{0}));
  run.on_part_over(0, kStart);
  run.on_part_over(2, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.end(), DistributedEnd::not_started);
  EXPECT_EQ(run.status(), 127);
  EXPECT_THAT(run.message(), HasSubstr("nosuch"));
}

TEST(DistributedRun, AProgramThatCantBeExecutedIsTheReasonThoughItsLinkIsMissedFirst) {
  DistributedRun run = one_remote_stage();
  for (PartIndex part : {0u, 1u, 2u}) run.on_prepared(part, kStart);
  for (PartIndex part : {0u, 1u, 2u}) run.on_connected(part, kStart);
  run.on_started(0, kStart);
  run.on_link_lost(0, "the other end gave up", kStart);
  run.on_part_failed(1, 126, "stage 1: job: text file busy", kStart);
  run.on_part_over(0, kStart);
  run.on_part_over(2, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 126);
  EXPECT_EQ(run.message(), "stage 1: job: text file busy");
}

TEST(DistributedRun, OfTwoReasonsOfTheSameKindTheFirstCounts) {
  DistributedRun run = one_remote_stage();
  run.on_link_lost(0, "no connection", kStart);
  run.on_part_failed(1, 125, "too many open files", kStart);
  run.on_part_over(0, kStart);
  run.on_part_over(2, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_THAT(run.message(), HasSubstr("was lost: no connection"));
}

TEST(DistributedRun, ACutLinkEndsAllAndNamesBothHosts) {
  DistributedRun run = one_remote_stage();
  start(run);
  run.on_link_lost(1, "connection reset", kStart);
  EXPECT_THAT(drain(run), ElementsAre(EndPart{2}, EndPart{1}, EndPart{0}));
  run.on_worker_ended(1, 0, exited(0), kStart);
  for (PartIndex part : {0u, 1u, 2u}) run.on_part_over(part, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.end(), DistributedEnd::link_lost);
  EXPECT_EQ(run.status(), 125);
  EXPECT_THAT(run.message(), HasSubstr("stage 1 on n1 to stdout on laptop was lost: connection reset"));
}

TEST(DistributedRun, ALostHostEndsTheFlowWithoutWaitingForIt) {
  DistributedRun run = one_remote_stage();
  start(run);
  run.on_host_lost(1, "no answer for 5 s", kStart);
  EXPECT_THAT(drain(run), ElementsAre(EndPart{2}, EndPart{0}));
  run.on_part_over(0, kStart);
  run.on_part_over(2, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 125);
  EXPECT_THAT(run.message(), HasSubstr("lost n1: no answer for 5 s"));
  EXPECT_THAT(run.message(), HasSubstr("the link from stage 1 on n1 to stdout on laptop"));
}

TEST(DistributedRun, ASignalReachesEveryPartWithAProcess) {
  DistributedRun run = one_remote_stage();
  start(run);
  run.on_signal(SIGTERM, SignalSource::process, false, kStart);
  auto actions = drain(run);
  ASSERT_EQ(actions.size(), 1u);
  auto* signal = std::get_if<SignalPart>(&actions[0]);
  ASSERT_NE(signal, nullptr);
  EXPECT_EQ(signal->part, 1u);
  EXPECT_EQ(signal->signal.signal, SIGTERM);
}

TEST(DistributedRun, TheTimeoutCountsWhileTheOutputIsDelivered) {
  DistributedRun run = one_remote_stage(10s);
  start(run);
  run.on_worker_ended(1, 0, exited(0), kStart);
  run.on_part_childless(1, kStart);
  drain(run);
  ASSERT_EQ(run.poll_deadline(), kStart + 10s);
  run.on_deadline(false, kStart + 10s);
  EXPECT_THAT(drain(run), ElementsAre(EndPart{2}, EndPart{1}, EndPart{0}));
  for (PartIndex part : {0u, 1u, 2u}) run.on_part_over(part, kStart + 10s);
  EXPECT_EQ(run.status(), 124);
}

TEST(DistributedRun, TheLossOfTheClientEndsTheRest) {
  DistributedRun run = one_remote_stage();
  start(run);
  run.on_client_lost(kStart);
  EXPECT_THAT(drain(run), ElementsAre(EndPart{1}));
  run.on_worker_ended(1, 0, exited(0), kStart);
  run.on_part_over(1, kStart);
  EXPECT_TRUE(run.finished());
}

TEST(DistributedRun, AHostThatNeverAnswersIsGivenUp) {
  DistributedRun run = one_remote_stage();
  run.on_prepared(0, kStart);
  run.on_prepared(2, kStart);
  run.on_deadline(false, *run.poll_deadline());
  EXPECT_THAT(run.message(), HasSubstr("no answer from n1"));
}

TEST(DistributedRun, OneThatIsResumedStartsNothingAndHearsWhatHasHappened) {
  DistributedRun run = one_remote_stage(10s);
  run.resume(kStart);
  EXPECT_TRUE(run.started() && run.running());
  EXPECT_THAT(drain(run), IsEmpty());
  EXPECT_EQ(run.poll_deadline(), kStart + 10s);
  for (int times = 0; times < 2; ++times) {  // a line to a part may break again
    run.on_started(1, kStart);
    run.on_worker_ended(1, 0, exited(3), kStart);
    run.on_part_childless(1, kStart);
  }
  for (PartIndex part : {0u, 1u, 2u}) run.on_part_over(part, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 3);
  EXPECT_EQ(run.end(), DistributedEnd::completed);
}

TEST(DistributedRun, OneThatIsResumedAndLacksAPartEndsTheOthers) {
  DistributedRun run = one_remote_stage();
  run.resume(kStart);
  run.on_host_lost(1, "it does not have that part", kStart);
  EXPECT_THAT(drain(run), ElementsAre(EndPart{2}, EndPart{0}));
  EXPECT_THAT(run.message(), HasSubstr("lost n1: it does not have that part"));
}

TEST(DistributedRun, AStageOfSeveralWorkersHasItsHighestStatus) {
  PartGraph graph{.parts = {{.host = node_id(), .stages = {0}, .outputs = {{.from = 0, .links = {0}}}},
                            {.host = node_id(), .stages = {0}, .outputs = {{.from = 0, .links = {1}}}},
                            {.host = {}, .stages = {}, .inputs = {{.from = 0, .links = {0, 1}}}}},
                  .links = {{0, 2}, {1, 2}}};
  DistributedRun run({.graph = graph, .host_names = {"n1", "n2", "laptop"}, .stages = 1}, kStart);
  start(run);
  run.on_worker_ended(0, 0, exited(4), kStart);
  run.on_worker_ended(1, 0, exited(0), kStart);
  for (PartIndex part : {0u, 1u, 2u}) run.on_part_over(part, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 4);
}

// --- seats --------------------------------------------------------------------------------------------------------

// The client has the records of its one stage, whose workers are on n1 and n2.
DistributedRun two_hosts_with_seats() {
  PartGraph graph{.parts = {{.host = {}, .stages = {0}},
                            {.host = node_id(), .seats_of = 0, .runs_again = true},
                            {.host = node_id(), .seats_of = 0, .runs_again = true}},
                  .links = {{0, 1, true}, {1, 0, true}, {0, 2, true}, {2, 0, true}}};
  return DistributedRun({.graph = graph, .host_names = {"laptop", "n1", "n2"}, .stages = 1}, kStart);
}

TEST(DistributedRun, AHostOfSeatsThatIsLostEndsNothingAndIsTold) {
  DistributedRun run = two_hosts_with_seats();
  start(run);
  run.on_host_lost(2, "it has died", kStart);
  EXPECT_THAT(drain(run), ElementsAre(Tell{"lost the workers of stage 1 on n2: it has died; what they had not done is "
                                           "done elsewhere"},
                                      DropLinks{.part = 0, .links = {2, 3}}));
  run.on_link_lost(2, "cut", kStart);  // what follows from it is not told again
  EXPECT_THAT(drain(run), IsEmpty());
  run.on_worker_ended(0, 0, exited(0), kStart);
  run.on_part_over(0, kStart);
  run.on_part_over(1, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.end(), DistributedEnd::completed);
  EXPECT_EQ(run.status(), 0);
}

TEST(DistributedRun, AHostOfSeatsMayBeLostBeforeEveryPartHasSaidThatItStarted) {
  DistributedRun run = two_hosts_with_seats();
  for (PartIndex part : {0u, 1u, 2u}) run.on_prepared(part, kStart);
  for (PartIndex part : {0u, 1u, 2u}) run.on_connected(part, kStart);
  run.on_started(0, kStart);
  run.on_link_lost(3, "cut", kStart);
  run.on_host_lost(2, "it has died", kStart);
  EXPECT_FALSE(run.started());
  run.on_started(1, kStart);
  EXPECT_TRUE(run.started());
}

TEST(DistributedRun, AProgramThatTheHostOfSeatsLacksEndsTheFlow) {
  DistributedRun run = two_hosts_with_seats();
  for (PartIndex part : {0u, 1u, 2u}) run.on_prepared(part, kStart);
  for (PartIndex part : {0u, 1u, 2u}) run.on_connected(part, kStart);
  run.on_part_failed(2, 127, "no such program", kStart);
  for (PartIndex part : {0u, 1u}) run.on_part_over(part, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 127);
}

TEST(DistributedRun, AHostOfSeatsThatIsLostAfterItsStageHadEndedIsNotTold) {
  DistributedRun run = two_hosts_with_seats();
  start(run);
  run.on_worker_ended(0, 0, exited(0), kStart);
  run.on_part_over(0, kStart);
  run.on_host_lost(1, "it has died", kStart);
  run.on_host_lost(2, "it has died", kStart);
  EXPECT_THAT(drain(run), IsEmpty());
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 0);
}

TEST(DistributedRun, SignalsReachTheHostsOfSeats) {
  DistributedRun run = two_hosts_with_seats();
  start(run);
  run.on_signal(SIGTERM, SignalSource::process, false, kStart);
  std::vector<PartIndex> told;
  for (const DistributedAction& action : drain(run))
    if (auto* signal = std::get_if<SignalPart>(&action)) told.push_back(signal->part);
  EXPECT_THAT(told, ElementsAre(2, 1, 0));
}

// --- workers that join --------------------------------------------------------------------------------------------

// The client has the records of its one stage, and nobody works for it.
DistributedRun nobody_works(std::vector<std::string> stage_names = {}) {
  PartGraph graph{.parts = {{.host = {}, .stages = {0}}}, .links = {}};
  DistributedRun run({.graph = graph, .host_names = {"laptop"}, .stages = 1, .stage_names = std::move(stage_names)},
                     kStart);
  run.on_prepared(0, kStart);
  run.on_connected(0, kStart);
  run.on_started(0, kStart);
  drain(run);
  return run;
}

PartIndex join(DistributedRun& run, std::size_t part) {
  std::size_t link = 2 * (part - 1);
  Part seat{.host = node_id(), .seats = {{0, link, link + 1}}, .seats_of = 0, .runs_again = true, .joined = true};
  return run.add_seat(seat, {0, part, true}, {part, 0, true}, "n1");
}

TEST(DistributedRun, WhoeverJoinsIsAPartMoreAndTheFlowEndsWhenItIsOverToo) {
  DistributedRun run = nobody_works();
  EXPECT_EQ(join(run, 1), 1u);
  run.on_prepared(1, kStart);
  run.on_connected(1, kStart);
  run.on_started(1, kStart);
  EXPECT_THAT(drain(run), IsEmpty()) << "it goes on by itself";
  run.on_worker_ended(0, 0, exited(0), kStart);
  run.on_part_over(0, kStart);
  EXPECT_FALSE(run.finished());
  run.on_part_over(1, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 0);
}

TEST(DistributedRun, AWorkerThatHasJoinedAndIsLostCostsNothingButItsLinks) {
  DistributedRun run = nobody_works();
  join(run, 1);
  join(run, 2);
  run.on_host_lost(1, "it has died", kStart);
  EXPECT_THAT(drain(run),
              ElementsAre(Tell{"lost a worker that had joined stage 1 through n1: it has died; what it had not "
                               "done is done elsewhere"},
                          DropLinks{.part = 0, .links = {0, 1}}));
  run.on_part_over(2, kStart);  // nobody needs it
  EXPECT_THAT(drain(run), IsEmpty());
  EXPECT_TRUE(run.running());
  EXPECT_EQ(join(run, 3), 3u);
}

TEST(DistributedRun, AWorkerThatGoesBeforeItsStageHasEndedIsTold) {
  DistributedRun run = nobody_works({"look-up"});
  for (std::size_t part = 1; part <= 3; ++part) join(run, part);
  run.on_seat_gone(1, std::nullopt);
  EXPECT_THAT(drain(run), ElementsAre(Tell{"a worker that had joined stage 'look-up' through n1 has left"}));
  run.on_seat_gone(2, "it ended without a word");
  EXPECT_THAT(drain(run), ElementsAre(Tell{"lost a worker that had joined stage 'look-up' through n1: it ended without "
                                           "a word; what it had not done is done elsewhere"}));
  run.on_link_lost(2, "cut", kStart);
  EXPECT_THAT(drain(run), IsEmpty()) << "it is told once";
  run.on_worker_ended(0, 0, exited(0), kStart);
  drain(run);
  run.on_seat_gone(3, std::nullopt);
  EXPECT_THAT(drain(run), IsEmpty());
}

TEST(DistributedRun, AWorkerThatAnotherFlowHasTakenIsNotTold) {
  DistributedRun run = nobody_works();
  join(run, 1);
  run.on_part_failed(1, 125, "", kStart);
  EXPECT_THAT(drain(run), ElementsAre(DropLinks{.part = 0, .links = {0, 1}}));
  run.on_worker_ended(0, 0, exited(3), kStart);
  run.on_part_over(0, kStart);
  ASSERT_TRUE(run.finished());
  EXPECT_EQ(run.status(), 3);
}

TEST(DistributedRun, SignalsReachAWorkerThatHasJoinedAndNobodyAsksItForStragglers) {
  DistributedRun run = nobody_works();
  join(run, 1);
  run.on_signal(SIGTERM, SignalSource::process, false, kStart);
  std::vector<PartIndex> told;
  for (const DistributedAction& action : drain(run))
    if (auto* signal = std::get_if<SignalPart>(&action)) told.push_back(signal->part);
  EXPECT_THAT(told, ElementsAre(1, 0));
  run.on_worker_ended(0, 0, exited(0), kStart);
  run.on_deadline(false, kStart + 3s);
  for (const DistributedAction& action : drain(run)) EXPECT_NE(action, DistributedAction(SurveyPart{1}));
}

}  // namespace
}  // namespace sluice::flow
