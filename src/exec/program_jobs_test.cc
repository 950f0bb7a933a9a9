#include "exec/program_jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>

#include "exec/job_client.h"
#include "exec/processes_for_test.h"
#include "exec/subreaper.h"

namespace sluice::exec {
namespace {

using testing::HasSubstr;

// A spawner of our own with one program that is started by job.
class ProgramJobsTest : public testing::Test {
 protected:
  ProgramJobsTest() : entry_(EntryState::capture()) { become_subreaper(); }
  ~ProgramJobsTest() override {
    jobs_.close();
    spawner_.reset();
    end_all_children({});
  }

  void launch(Program program) {
    auto spawner = SpawnerClient::fork_spawner(entry_);
    ASSERT_TRUE(spawner.has_value());
    spawner_.emplace(std::move(*spawner));
    auto made = JobClient::make();
    ASSERT_TRUE(made.has_value());
    jobs_ = std::move(made->first);
    program.by_job = true;
    Launch launch;
    launch.programs = {std::move(program)};
    launch.environment = {"PATH=/usr/bin:/bin"};
    int passed[] = {made->second.get()};
    ASSERT_TRUE(spawner_->send_with(launch, passed).has_value());
    ASSERT_TRUE(await<Started>(*spawner_).has_value());
  }

  template <class Event>
  std::optional<Event> hear() {
    std::optional<Event> heard;
    (void)happens([&] {
      jobs_.receive();
      while (auto event = jobs_.poll_event())
        if (auto* wanted = std::get_if<Event>(&*event)) heard = *wanted;
      return heard.has_value();
    });
    return heard;
  }

  // What a job prints, whose input is `text`.
  std::string output_of(JobNumber job, std::vector<std::string> arguments, std::string_view text) {
    PipeForTest input, output;
    EXPECT_EQ(::write(input.write_end.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    input.write_end.reset();
    EXPECT_TRUE(
        jobs_.start(job, 0, std::move(arguments), {.input = input.read_end.get(), .output = output.write_end.get()})
            .has_value());
    output.write_end.reset();
    std::string whole;
    char buffer[4096];
    ssize_t got;
    while ((got = ::read(output.read_end.get(), buffer, sizeof buffer)) > 0)
      whole.append(buffer, static_cast<std::size_t>(got));
    return whole;
  }

  EntryState entry_;
  std::optional<SpawnerClient> spawner_;
  JobClient jobs_;
};

TEST_F(ProgramJobsTest, StartsAProgramAsOftenAsItsOwnerAsks) {
  launch(shell("cat; echo \"$0\""));
  EXPECT_EQ(output_of(1, {}, "a\n"), "a\nsh\n");
  EXPECT_EQ(hear<JobEnded>().value_or(JobEnded{}).job, 1u);
  EXPECT_EQ(output_of(2, {"sh", "-c", "cat; echo \"$1\"; exit 7", "sh", "x y"}, "b\n"), "b\nx y\n");
  auto ended = hear<JobEnded>();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->job, 2u);
  EXPECT_EQ(WEXITSTATUS(ended->wait_status), 7);
}

TEST_F(ProgramJobsTest, HasEndedWhenItsOwnerWantsNoMoreAndTheLastJobIsOver) {
  launch(shell("read go"));
  PipeForTest input, output;
  ASSERT_TRUE(jobs_.start(1, 0, {}, {.input = input.read_end.get(), .output = output.write_end.get()}).has_value());
  ASSERT_TRUE(hear<JobStarted>().has_value());
  jobs_.close();
  auto early = spawner_->poll_event();
  ASSERT_TRUE(early.has_value());
  EXPECT_FALSE(early->has_value()) << "a job runs";
  input.write_end.reset();
  auto exited = await<Exited>(*spawner_);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(exited->program, 0u);
  EXPECT_TRUE(await<Childless>(*spawner_).has_value());
}

TEST_F(ProgramJobsTest, SaysWhyOneCannotBeStarted) {
  launch({.path = "/nowhere/tool", .arguments = {"tool"}});
  EXPECT_EQ(output_of(5, {}, ""), "");
  auto failed = hear<JobFailed>();
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->job, 5u);
  EXPECT_EQ(failed->error, ENOENT);
  EXPECT_EQ(failed->action, "execute");
}

TEST_F(ProgramJobsTest, PassesSignalsOnToEachJobAndItsTree) {
  launch(shell("sleep 1000 & echo $!; wait"));
  PipeForTest input, output;
  ASSERT_TRUE(jobs_.start(1, 0, {}, {.input = input.read_end.get(), .output = output.write_end.get()}).has_value());
  char buffer[32] = {};
  ASSERT_GT(::read(output.read_end.get(), buffer, sizeof buffer - 1), 0);
  pid_t below = std::atoi(buffer);
  jobs_.signal(1, SIGKILL);
  auto ended = hear<JobEnded>();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(WTERMSIG(ended->wait_status), SIGKILL);
  EXPECT_TRUE(happens([&] { return !is_alive(below); }));
}

TEST_F(ProgramJobsTest, EndsEveryJobWithItsOwner) {
  launch(shell("echo $$; exec sleep 1000"));
  PipeForTest input, output;
  ASSERT_TRUE(jobs_.start(1, 0, {}, {.input = input.read_end.get(), .output = output.write_end.get()}).has_value());
  char buffer[32] = {};
  ASSERT_GT(::read(output.read_end.get(), buffer, sizeof buffer - 1), 0);
  spawner_.reset();
  EXPECT_TRUE(happens([&] { return !is_alive(std::atoi(buffer)); }));
}

TEST_F(ProgramJobsTest, StartsOneInASeatWhenTheOneBeforeItHasEnded) {
  launch(shell("cat"));
  PipeForTest first, second, third, output;
  auto start = [&](JobNumber job, std::uint32_t seat, const PipeForTest& input) {
    ASSERT_TRUE(
        jobs_.start(job, seat, {}, {.input = input.read_end.get(), .output = output.write_end.get()}).has_value());
  };
  start(1, 0, first);
  start(2, 0, second);
  start(3, 1, third);
  third.write_end.reset();
  auto ended = hear<JobEnded>();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->job, 3u) << "the second waits for the first, though it was asked for before";
  first.write_end.reset();
  auto started = hear<JobStarted>();
  ASSERT_TRUE(started.has_value());
  EXPECT_EQ(started->job, 2u);
  second.write_end.reset();
}

TEST_F(ProgramJobsTest, StartsNothingMoreAfterASignalThatEndsTheProgram) {
  launch(shell("exec sleep 1000"));
  PipeForTest input, output;
  for (JobNumber job : {1, 2})
    ASSERT_TRUE(jobs_.start(job, 0, {}, {.input = input.read_end.get(), .output = output.write_end.get()}).has_value());
  ASSERT_TRUE(hear<JobStarted>().has_value());
  spawner_->send(SendSignal{.signal = SIGTERM, .programs = {0}});
  auto failed = hear<JobFailed>();
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->job, 2u);
  EXPECT_EQ(failed->error, ECANCELED);
}

// While the owner feeds a job, its stdin stays open beyond the owner: else half an input would look like a whole one.
TEST_F(ProgramJobsTest, KeepsTheInputOfAJobOpenUntilItIsReleased) {
  launch(shell("cat; echo end"));
  PipeForTest input, output;
  ASSERT_TRUE(
      jobs_
          .start(
              1, 0, {},
              {.input = input.read_end.get(), .output = output.write_end.get(), .input_guard = input.write_end.get()})
          .has_value());
  ASSERT_TRUE(hear<JobStarted>().has_value());
  output.write_end.reset();
  ASSERT_EQ(::write(input.write_end.get(), "a\n", 2), 2);
  input.write_end.reset();
  char buffer[32] = {};
  ASSERT_GT(::read(output.read_end.get(), buffer, sizeof buffer - 1), 0);
  EXPECT_STREQ(buffer, "a\n");
  pollfd more{.fd = output.read_end.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&more, 1, 0), 0);
  jobs_.release_input(1);
  ASSERT_GT(::read(output.read_end.get(), buffer, sizeof buffer - 1), 0);
  EXPECT_THAT(buffer, HasSubstr("end"));
}

}  // namespace
}  // namespace sluice::exec
