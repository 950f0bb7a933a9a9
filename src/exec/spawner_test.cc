#include "exec/spawner.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>

#include "exec/processes_for_test.h"
#include "exec/spawner_client.h"
#include "exec/subreaper.h"

namespace sluice::exec {
namespace {

// A spawner of the test's own; the test is its owner and, should the spawner be killed, the next subreaper.
class SpawnerTest : public testing::Test {
 protected:
  SpawnerTest() {
    ::sigprocmask(SIG_SETMASK, nullptr, &entry_.mask);
    become_subreaper();
    auto client = SpawnerClient::fork_spawner(entry_);
    if (!client) std::abort();
    client_.emplace(std::move(*client));
  }
  ~SpawnerTest() override {
    client_.reset();
    end_all_children({});
  }

  template <class Event>
  std::optional<Event> await() {
    return exec::await<Event>(*client_);
  }

  // Launches with the programs' output going to a pipe that the test reads.
  Started launch(std::vector<Program> programs) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    output_.reset(ends[0]);
    UniqueFd write_end(ends[1]);
    for (std::size_t i = 0; i + 1 < programs.size(); ++i) {
      programs[i].output = Stream::neighbour;
      programs[i + 1].input = Stream::neighbour;
    }
    programs.back().output = Stream::passed;
    Launch launch{.programs = std::move(programs), .environment = {"PATH=/bin:/usr/bin"}};
    int passed[] = {write_end.get()};
    EXPECT_TRUE(client_->send_with(launch, passed));
    return await<Started>().value_or(Started{});
  }

  std::string read_line() {
    std::string line;
    char c;
    pollfd readable{.fd = output_.get(), .events = POLLIN, .revents = 0};
    while (::poll(&readable, 1, std::chrono::milliseconds(kTestDeadline).count()) > 0 &&
           ::read(output_.get(), &c, 1) == 1 && c != '\n')
      line += c;
    return line;
  }

  EntryState entry_;
  std::optional<SpawnerClient> client_;
  UniqueFd output_;
};

TEST_F(SpawnerTest, ConnectsNeighboursAndReportsTheirEnds) {
  Started started = launch({shell("echo hello; exit 3"), shell("tr a-z A-Z")});
  EXPECT_EQ(started.pids.size(), 2u);
  EXPECT_EQ(read_line(), "HELLO");
  auto first = await<Exited>(), second = await<Exited>();
  ASSERT_TRUE(first && second);
  if (first->program == 1) std::swap(first, second);
  EXPECT_EQ(ProcessStatus::from_wait(first->wait_status).exit_code(), 3);
  EXPECT_TRUE(ProcessStatus::from_wait(second->wait_status).success());
  EXPECT_GT(second->peak_memory_bytes, 0u);
  EXPECT_TRUE(await<Childless>().has_value());
}

TEST_F(SpawnerTest, SaysWhetherTheReaderWasGone) {
  launch({shell("while :; do echo y || exit; done"), shell("exec head -1")});
  for (int i = 0; i < 2; ++i) {
    auto exited = await<Exited>();
    ASSERT_TRUE(exited.has_value());
    if (exited->program == 0) {
      EXPECT_EQ(exited->output_reader, Reader::gone);
    }
  }
}

TEST_F(SpawnerTest, SeesAReaderThatIsStillThere) {
  launch({shell("kill -PIPE $$"), shell("cat; echo end; exec cat")});
  auto exited = await<Exited>();
  ASSERT_TRUE(exited && exited->program == 0);
  EXPECT_EQ(ProcessStatus::from_wait(exited->wait_status).signal(), SIGPIPE);
}

TEST_F(SpawnerTest, FailsAsAWholeWhenOneProgramCannotStart) {
  Launch launch{.programs = {shell("exec sleep 1000"), {.path = "/no/such/file", .arguments = {"x"}}}};
  launch.programs[0].output = Stream::neighbour;
  launch.programs[1].input = Stream::neighbour;
  client_->send(launch);
  auto failed = await<LaunchFailed>();
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->program, 1u);
  EXPECT_EQ(failed->error, ENOENT);
  EXPECT_TRUE(await<Childless>().has_value()) << "the first program must have been ended";
}

TEST_F(SpawnerTest, RunsAScriptWithoutAnInterpreterLine) {
  char path[] = "/tmp/spawner_test_XXXXXX";
  UniqueFd file(::mkstemp(path));
  ASSERT_EQ(::write(file.get(), "echo \"$1\"\n", 10), 10);
  ::fchmod(file.get(), 0700);
  file.reset();
  launch({{.path = path, .arguments = {"name", "an argument"}, .script_shell = "/bin/sh"}});
  EXPECT_EQ(read_line(), "an argument");
  ::unlink(path);
}

TEST_F(SpawnerTest, SignalsTheWholeTreeOfAProgram) {
  launch({shell("sh -c 'trap \"echo got; exit 5\" TERM; sleep 1000 & echo ready; wait' & wait; wait")});
  EXPECT_EQ(read_line(), "ready");
  client_->send(SendSignal{.signal = SIGTERM, .programs = {0}});
  EXPECT_EQ(read_line(), "got");
}

TEST_F(SpawnerTest, EndsWhatForkedTwiceAndLeftTheSession) {
  launch({shell(std::string(kEscape) + "exec sleep 1000")});
  pid_t escaped = std::stoi(read_line());
  EXPECT_TRUE(is_alive(escaped));
  client_->send(EndAll{});
  EXPECT_TRUE(await<Childless>().has_value());
  EXPECT_FALSE(is_alive(escaped));
}

TEST_F(SpawnerTest, EndsEverythingWhenItsOwnerIsGone) {
  Started started = launch({shell(std::string(kEscape) + "exec sleep 1000"), shell("exec cat")});
  pid_t escaped = std::stoi(read_line());
  pid_t spawner = client_->pid();
  client_.reset();  // waits for the spawner
  EXPECT_FALSE(is_alive(spawner));
  EXPECT_FALSE(is_alive(escaped));
  for (pid_t pid : started.pids) EXPECT_FALSE(is_alive(pid));
}

TEST_F(SpawnerTest, ItsOwnerInheritsTheTreeWhenItIsKilled) {
  Started started = launch({shell(std::string(kEscape) + "exec sleep 1000")});
  pid_t escaped = std::stoi(read_line());
  ::kill(client_->pid(), SIGKILL);
  EXPECT_TRUE(happens([&] { return !is_alive(started.pids[0]); })) << "the parent-death signal";
  end_all_children({});
  EXPECT_FALSE(is_alive(escaped));
}

TEST_F(SpawnerTest, SurveysWhatOutlivedItsProgram) {
  launch({shell("sleep 1000 >/dev/null & echo $!")});
  pid_t left = std::stoi(read_line());
  ASSERT_TRUE(await<Exited>().has_value());
  client_->send(RequestSurvey{});
  auto survey = await<Survey>();
  ASSERT_TRUE(survey.has_value());
  ASSERT_EQ(survey->total, 1u);
  EXPECT_EQ(survey->strays[0].pid, left);
  EXPECT_FALSE(survey->strays[0].drains_pipe) << "a shell gives a background job /dev/null";
  client_->send(SendSignal{.signal = SIGTERM, .programs = {}, .strays_too = true});
  EXPECT_TRUE(await<Childless>().has_value());
}

TEST_F(SpawnerTest, SurveyTellsWhoDrainsAPipe) {
  // The one behind the pipe drains it: its writer has ended. The other reads a link of the flow.
  launch({shell("exec echo input"),
          shell("{ echo text | { echo $$; exec sleep 1000; } >/dev/null & } ; sleep 1000 >/dev/null <&0 & echo $!")});
  pid_t reads_link = std::stoi(read_line());
  ASSERT_TRUE(await<Exited>() && await<Exited>());
  Survey survey;
  EXPECT_TRUE(happens([&] {
    client_->send(RequestSurvey{});
    survey = await<Survey>().value_or(Survey{});
    return std::ranges::any_of(survey.strays, &Stray::drains_pipe);
  }));
  for (const Stray& stray : survey.strays)
    if (stray.pid == reads_link) {
      EXPECT_FALSE(stray.drains_pipe);
    }
}

TEST_F(SpawnerTest, SaysWhenADescriptorDidNotArrive) {
  Launch launch = to_pipe("exit 0");
  client_->send(launch);
  auto failed = await<LaunchFailed>();
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->error, EMFILE);
  EXPECT_TRUE(await<Childless>().has_value());
}

TEST_F(SpawnerTest, DetachLeavesWhatRuns) {
  launch({shell("sleep 1000 >/dev/null & echo $!")});
  pid_t left = std::stoi(read_line());
  ASSERT_TRUE(await<Exited>().has_value());
  client_->send(Detach{});
  client_->wait();
  EXPECT_TRUE(is_alive(left));
}

}  // namespace
}  // namespace sluice::exec
