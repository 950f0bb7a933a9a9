#include "node/lasting_processes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/pipe.h"
#include "exec/message_socket.h"
#include "node/dead_letters.h"

namespace sluice::node {
namespace {

using exec::ProcessStatus;

// A stage of two workers, whose stderr goes into a pipe of ours, and the other end of the socket that it asks on.
class Stage {
 public:
  explicit Stage(DeadLetters* letters = nullptr) : options_{.letters = letters} {}

  // What was asked for since the last look: most often one job.
  std::vector<exec::JobRequest> asked() {
    EXPECT_TRUE(spawner.receive());
    std::vector<exec::JobRequest> requests;
    while (auto request = *spawner.next(reader_)) requests.push_back(*std::move(request));
    return requests;
  }
  void start(std::uint32_t worker) {
    auto error = processes.capture_stderr(worker);
    ASSERT_TRUE(error);
    captured = *std::move(error);
    Pipe pipe = *make_pipe();
    ASSERT_TRUE(processes.start(worker, {.input = pipe.read_end.get(), .output = pipe.write_end.get()}));
  }
  void end(exec::JobNumber job, ProcessStatus status) {
    processes.on_ended({.job = job, .wait_status = status.wait_status()});
  }

  Pipe sink = *make_pipe();
  int sink_in = sink.write_end.get();
  UniqueFd captured;  // of the last one that was started

 private:
  exec::MessageReader<exec::JobRequest> reader_;
  JobStageOptions options_;
  std::pair<exec::JobClient, UniqueFd> socket_ = *exec::JobClient::make();

  JobStageStreams streams() {
    JobStageStreams all;
    all.error = std::move(sink.write_end);
    all.jobs = StageJobs(std::move(socket_.first));
    return all;
  }

 public:
  exec::MessageSocket spawner{std::move(socket_.second)};
  JobStageFrame frame{{}, streams(), options_, 2};
  LastingProcesses processes{frame, 2};
};

TEST(LastingProcesses, EachIsAskedForUnderANumberOfItsOwnForItsWorker) {
  Stage stage;
  EXPECT_TRUE(stage.processes.none_exists());
  stage.start(1);
  stage.start(0);
  std::vector<exec::JobRequest> asked = stage.asked();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(std::get<exec::StartJob>(asked[0]).job, 1u);
  EXPECT_EQ(std::get<exec::StartJob>(asked[0]).seat, 1u);
  EXPECT_EQ(std::get<exec::StartJob>(asked[1]).job, 2u);
  EXPECT_EQ(std::get<exec::StartJob>(asked[1]).seat, 0u);
  EXPECT_EQ(stage.frame.counts().jobs, 2u);
  EXPECT_TRUE(stage.processes.runs(0));
  EXPECT_FALSE(stage.processes.none_exists());
}

TEST(LastingProcesses, WhatIsAskedOfOneIsAskedOfThatOneAlone) {
  Stage stage;
  stage.start(0);
  stage.start(1);
  stage.asked();
  stage.processes.release_input(1);
  stage.processes.signal(0, SIGKILL);
  std::vector<exec::JobRequest> asked = stage.asked();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(std::get<exec::ReleaseJobInput>(asked[0]).job, 2u);
  EXPECT_EQ(std::get<exec::SignalJob>(asked[1]).job, 1u);
  EXPECT_EQ(std::get<exec::SignalJob>(asked[1]).signal, SIGKILL);
}

TEST(LastingProcesses, OneThatHasEndedIsThereUntilItIsRemoved) {
  Stage stage;
  stage.start(0);
  stage.start(1);
  stage.end(2, ProcessStatus::exited(3));
  EXPECT_TRUE(stage.processes.has_ended(1));
  EXPECT_TRUE(stage.processes.exists(1));
  EXPECT_FALSE(stage.processes.runs(1));
  EXPECT_TRUE(stage.processes.runs(0));
  ASSERT_TRUE(stage.processes.is_over(1, true));
  EXPECT_EQ(stage.processes.remove(1), ProcessStatus::exited(3));
  EXPECT_FALSE(stage.processes.exists(1));
  EXPECT_FALSE(stage.processes.has_ended(1));
  EXPECT_FALSE(stage.processes.none_exists()) << "the other runs";
  stage.start(1);
  EXPECT_TRUE(stage.processes.runs(1));
}

TEST(LastingProcesses, WhatItLeftRunningHoldsItForAMomentOnly) {
  Stage stage;
  stage.start(0);
  EXPECT_FALSE(stage.processes.deadline());
  stage.end(1, ProcessStatus::exited(0));
  EXPECT_FALSE(stage.processes.is_over(0, false));
  EXPECT_EQ(stage.processes.deadline(), stage.frame.now() + kOutputLinger);
  const TimePoint due = *stage.processes.deadline();
  while (stage.frame.now() < due) stage.frame.look_at_clock();
  EXPECT_TRUE(stage.processes.is_over(0, false));
}

TEST(LastingProcesses, TheFirstThatHasEndedIsLookedAtFirst) {
  Stage stage;
  stage.start(0);
  stage.start(1);
  stage.end(2, ProcessStatus::exited(0));
  const TimePoint first = stage.frame.now();
  while (stage.frame.now() == first) stage.frame.look_at_clock();
  stage.end(1, ProcessStatus::exited(0));
  EXPECT_EQ(stage.processes.deadline(), first + kOutputLinger);
}

TEST(LastingProcesses, OneThatWasNotStartedSinceTheFlowEndsIsAsOneThatEndedWithIt) {
  Stage stage;
  stage.start(0);
  stage.processes.on_failed({.job = 1, .error = ECANCELED, .action = "execute"});
  EXPECT_FALSE(stage.frame.ended());
  ASSERT_TRUE(stage.processes.has_ended(0));
  EXPECT_EQ(stage.processes.remove(0), ProcessStatus::ended_by(SIGTERM));
}

TEST(LastingProcesses, OneThatCantBeStartedBreaksTheStage) {
  Stage stage;
  stage.start(0);
  stage.processes.on_failed({.job = 1, .error = ENOENT, .action = "execute"});
  ASSERT_TRUE(stage.frame.ended());
  EXPECT_EQ(stage.frame.ended()->kind, JobStageEnd::Kind::broken);
  EXPECT_EQ(stage.frame.ended()->status, ProcessStatus::exited(127));
}

TEST(LastingProcesses, ThereMayBeMoreWorkers) {
  Stage stage;
  stage.start(0);
  stage.processes.make_room(3);
  stage.processes.make_room(1);
  EXPECT_FALSE(stage.processes.exists(2));
  stage.start(2);
  EXPECT_EQ(std::get<exec::StartJob>(stage.asked().back()).seat, 2u);
}

// --- stderr -------------------------------------------------------------------------------------------------------

void say(const UniqueFd& descriptor, std::string_view text) {
  ASSERT_EQ(::write(descriptor.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

std::string read_from(const UniqueFd& descriptor) {
  std::string block(std::size_t{128} << 10, '\0');
  ssize_t got = ::read(descriptor.get(), block.data(), block.size());
  block.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return block;
}

// Whatever has not been read of the sink makes it full.
void fill(int sink) {
  ASSERT_EQ(::fcntl(sink, F_SETFL, O_NONBLOCK), 0);
  std::string block(4096, '.');
  while (::write(sink, block.data(), block.size()) > 0) continue;
}

TEST(LastingProcesses, WithoutDeadLettersNobodyReadsItsStderr) {
  Stage stage;
  stage.start(0);
  EXPECT_FALSE(stage.captured);
  std::vector<pollfd> polled;
  stage.processes.add_waits(polled);
  ASSERT_EQ(polled.size(), 2u);
  EXPECT_EQ(polled[0].fd, -1);
}

TEST(LastingProcesses, TheEndOfItsStderrIsKnownUntilTheNextIsStarted) {
  DeadLetters letters = *DeadLetters::open("/dev/null");
  Stage stage(&letters);
  stage.start(1);
  say(stage.captured, "so it goes\n");
  std::vector<pollfd> polled;
  stage.processes.add_waits(polled);
  ASSERT_EQ(polled.size(), 2u);
  EXPECT_EQ(::poll(polled.data(), polled.size(), 0), 1);
  stage.processes.on_ready(polled);
  EXPECT_EQ(read_from(stage.sink.read_end), "so it goes\n");
  stage.end(1, ProcessStatus::exited(1));
  say(stage.captured, "its last\n");
  ASSERT_TRUE(stage.processes.is_over(1, true));
  EXPECT_EQ(read_from(stage.sink.read_end), "its last\n") << "it was not heard before";
  stage.processes.remove(1);
  EXPECT_EQ(stage.processes.stderr_tail(1), "so it goes\nits last\n");
  stage.start(1);
  EXPECT_EQ(stage.processes.stderr_tail(1), "");
}

TEST(LastingProcesses, OneWhoseStderrNobodyTakesIsNotOver) {
  DeadLetters letters = *DeadLetters::open("/dev/null");
  Stage stage(&letters);
  stage.start(0);
  say(stage.captured, "wait for me\n");
  fill(stage.sink_in);
  stage.end(1, ProcessStatus::exited(0));
  EXPECT_FALSE(stage.processes.is_over(0, true));
  EXPECT_FALSE(stage.processes.deadline()) << "time does not help";
  read_from(stage.sink.read_end);
  EXPECT_TRUE(stage.processes.is_over(0, true));
  EXPECT_EQ(read_from(stage.sink.read_end), "wait for me\n");
}

TEST(LastingProcesses, AFlowThatEndsWaitsForNobodyToTakeTheStderr) {
  DeadLetters letters = *DeadLetters::open("/dev/null");
  Stage stage(&letters);
  stage.start(0);
  say(stage.captured, "wait for me\n");
  fill(stage.sink_in);
  stage.end(1, ProcessStatus::exited(0));
  ASSERT_FALSE(stage.processes.is_over(0, true));
  stage.frame.stop_starting();
  EXPECT_TRUE(stage.processes.is_over(0, true));
}

}  // namespace
}  // namespace sluice::node
