#include "node/stage_jobs.h"

#include <gtest/gtest.h>

#include <csignal>
#include <utility>

#include "exec/message_socket.h"

namespace sluice::node {
namespace {

using Kind = StageJobs::SeatChange::Kind;

// One end for the stage; the other is what the seat's links would lead to.
struct Seat {
  Seat() {
    auto ends = exec::JobClient::make();
    EXPECT_TRUE(ends);
    client = std::move(ends->first);
    other.emplace(std::move(ends->second));
  }
  void say(const exec::JobEvent& event) { other->send(encode(event)); }

  exec::JobClient client;
  std::optional<exec::MessageSocket> other;
};

StageJobs nobody_yet() {
  auto jobs = StageJobs::in_seats({}, true);
  EXPECT_TRUE(jobs);
  return *std::move(jobs);
}

TEST(StageJobs, SeatsJoinAndTheNumberOfOneThatWasReleasedIsGivenAgain) {
  StageJobs jobs = nobody_yet();
  EXPECT_TRUE(jobs.receive()) << "somebody may come";
  EXPECT_FALSE(jobs.all_seats_lost());
  Seat first, second;
  jobs.add(std::move(first.client));
  auto joined = jobs.poll_change();
  ASSERT_TRUE(joined);
  EXPECT_EQ(joined->kind, Kind::joined);
  EXPECT_EQ(joined->worker, 0u);
  EXPECT_FALSE(jobs.poll_change());
  jobs.release(0);
  EXPECT_FALSE(first.other->receive()) << "its seat is given up";
  jobs.add(std::move(second.client));
  EXPECT_EQ(jobs.poll_change()->worker, 0u);
}

TEST(StageJobs, WhatRanInASeatThatIsLostIsReportedAsKilledAndTheWorkerAsLost) {
  StageJobs jobs = nobody_yet();
  Seat seat;
  jobs.add(std::move(seat.client));
  ASSERT_TRUE(jobs.poll_change());
  ASSERT_TRUE(jobs.start(7, 0, {}, {.input = 0, .output = 1}));
  seat.other.reset();
  EXPECT_TRUE(jobs.receive());
  auto event = jobs.poll_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<exec::JobEnded>(*event).job, 7u);
  EXPECT_EQ(std::get<exec::JobEnded>(*event).wait_status, SIGKILL);
  auto lost = jobs.poll_change();
  ASSERT_TRUE(lost);
  EXPECT_EQ(lost->kind, Kind::lost);
}

// The flow is not to blame for what a worker was started with.
TEST(StageJobs, AProgramThatAJoinedWorkerCantExecuteOnlyMakesItLeave) {
  StageJobs jobs = nobody_yet();
  Seat seat;
  jobs.add(std::move(seat.client));
  ASSERT_TRUE(jobs.poll_change());
  ASSERT_TRUE(jobs.start(1, 0, {}, {.input = 0, .output = 1}));
  seat.say(exec::JobFailed{.job = 1, .error = 2, .action = "execute"});
  jobs.receive();
  auto event = jobs.poll_event();
  ASSERT_TRUE(event);
  EXPECT_TRUE(std::holds_alternative<exec::JobEnded>(*event));
  EXPECT_EQ(jobs.poll_change()->kind, Kind::leaving);
}

TEST(StageJobs, ASeatThatTakesNoOtherJobLeaves) {
  StageJobs jobs = nobody_yet();
  Seat seat;
  jobs.add(std::move(seat.client));
  ASSERT_TRUE(jobs.poll_change());
  seat.say(exec::JobsRefused{});
  jobs.receive();
  EXPECT_FALSE(jobs.poll_event()) << "it is no news of a job";
  EXPECT_EQ(jobs.poll_change()->kind, Kind::leaving);
}

}  // namespace
}  // namespace sluice::node
