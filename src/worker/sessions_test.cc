#include "worker/sessions.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>
#include <vector>

namespace sluice::worker {
namespace {

struct Seat {
  std::unique_ptr<Sessions> sessions = *Sessions::make();
  std::vector<UniqueFd> stages;  // the other ends

  explicit Seat() { sessions->open(); }

  void start(exec::JobNumber job) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    stages.emplace_back(ends[0]);
    UniqueFd theirs(ends[1]);
    ASSERT_TRUE(sessions->start(job, theirs.get()));
  }
  // Of the jobs that have ended: number and status of wait(2).
  std::vector<std::pair<exec::JobNumber, int>> ends() const {
    std::vector<std::pair<exec::JobNumber, int>> all;
    while (auto event = sessions->poll_event()) {
      auto& ended = std::get<exec::JobEnded>(*event);
      all.emplace_back(ended.job, ended.wait_status);
    }
    return all;
  }
  bool readable() const {
    pollfd polled{.fd = sessions->descriptor(), .events = POLLIN, .revents = 0};
    return ::poll(&polled, 1, 0) == 1;
  }
};

using Ends = std::vector<std::pair<exec::JobNumber, int>>;

bool is_shut(int socket) {
  char byte;
  return ::recv(socket, &byte, 1, MSG_DONTWAIT) == 0;
}

TEST(Sessions, ServeOneAfterTheOtherAndSayHowEachEnded) {
  Seat seat;
  seat.start(7);
  seat.start(8);
  UniqueFd first(*seat.sessions->next());
  EXPECT_EQ(seat.ends(), Ends{});
  first.reset();
  seat.sessions->ended(3);
  EXPECT_TRUE(seat.readable());
  EXPECT_EQ(seat.ends(), (Ends{{7, W_EXITCODE(3, 0)}}));
  UniqueFd second(*seat.sessions->next());
  seat.sessions->ended(0);
  EXPECT_EQ(seat.ends(), (Ends{{8, 0}}));
  EXPECT_EQ(seat.sessions->last_status(), 0);
}

TEST(Sessions, OneThatIsCutHasEndedAtOnceAndItsThreadIsNotHeardAnyMore) {
  Seat seat;
  seat.start(7);
  UniqueFd socket(*seat.sessions->next());
  EXPECT_FALSE(seat.sessions->is_cut());
  seat.sessions->cut(7, SIGTERM);
  EXPECT_TRUE(seat.sessions->is_cut());
  EXPECT_TRUE(is_shut(socket.get()));
  EXPECT_TRUE(is_shut(seat.stages[0].get()));
  EXPECT_EQ(seat.ends(), (Ends{{7, SIGTERM}}));
  seat.sessions->ended(0);
  EXPECT_EQ(seat.ends(), Ends{});
}

TEST(Sessions, NextIsNotCutBecauseTheLastOneWas) {
  Seat seat;
  seat.start(7);
  UniqueFd socket(*seat.sessions->next());
  seat.sessions->cut(7, SIGKILL);
  seat.start(8);
  seat.sessions->ended(1);
  socket.reset(*seat.sessions->next());
  EXPECT_FALSE(seat.sessions->is_cut());
  EXPECT_FALSE(is_shut(socket.get()));
  seat.sessions->ended(0);
}

TEST(Sessions, OneThatWaitsIsCutToo) {
  Seat seat;
  seat.start(7);
  seat.start(8);
  seat.sessions->cut(8, SIGKILL);
  seat.sessions->cut(9, SIGKILL);  // is none
  EXPECT_EQ(seat.ends(), (Ends{{8, SIGKILL}}));
  UniqueFd socket(*seat.sessions->next());
  seat.sessions->ended(0);
  EXPECT_EQ(seat.ends(), (Ends{{7, 0}}));
}

TEST(Sessions, KillEndsAllAndTakesNoOther) {
  Seat seat;
  seat.start(7);
  seat.start(8);
  UniqueFd socket(*seat.sessions->next());
  EXPECT_TRUE(seat.sessions->receive());
  seat.sessions->kill();
  EXPECT_TRUE(seat.readable());
  EXPECT_FALSE(seat.sessions->receive());
  EXPECT_EQ(seat.ends(), (Ends{{8, SIGKILL}, {7, SIGKILL}}));
  EXPECT_EQ(seat.sessions->start(9, socket.get()).error(), EPIPE);
  seat.sessions->ended(0);
}

TEST(Sessions, AreIdleWhenTheSeatIsClosedAndTheThreadIsBack) {
  Seat seat;
  int idle = 0;
  seat.sessions->on_idle([&idle] { ++idle; });
  seat.start(7);
  UniqueFd socket(*seat.sessions->next());
  seat.sessions->close();
  EXPECT_FALSE(seat.sessions->is_open());
  EXPECT_TRUE(is_shut(socket.get()));
  EXPECT_FALSE(seat.sessions->idle());
  EXPECT_EQ(idle, 0);
  seat.sessions->ended(0);
  EXPECT_TRUE(seat.sessions->idle());
  EXPECT_EQ(idle, 1);
  seat.sessions->open();  // for the next flow
  EXPECT_FALSE(seat.sessions->idle());
}

TEST(Sessions, ThreadIsToldThatThereWillBeNoOther) {
  Seat seat;
  std::optional<int> got = 0;
  std::thread thread([&] { got = seat.sessions->next(); });
  seat.sessions->finish();
  thread.join();
  EXPECT_EQ(got, std::nullopt);
}

}  // namespace
}  // namespace sluice::worker
