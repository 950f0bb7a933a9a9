#include "exec/spawner_pool.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "exec/entry_state.h"
#include "exec/processes_for_test.h"
#include "exec/subreaper.h"

namespace sluice::exec {
namespace {

using testing::HasSubstr;
using testing::Not;

std::unique_ptr<SpawnerPool> make_pool(SpawnerPool::Options options) {
  auto zygote = ZygoteClient::fork_zygote();
  if (!zygote) std::abort();
  return std::make_unique<SpawnerPool>(std::move(*zygote), std::move(options));
}

std::optional<SpawnerLease> acquire(SpawnerPool& pool) {
  auto lease = pool.acquire();
  EXPECT_TRUE(lease.has_value()) << lease.error();
  if (!lease) return std::nullopt;
  return std::move(*lease);
}

// The test is the node, and what would be left of it comes to the test.
class SpawnerPoolTest : public testing::Test {
 protected:
  SpawnerPoolTest() { become_subreaper(); }
  ~SpawnerPoolTest() override {
    pool_.reset();
    end_all_children({});
  }

  void start(SpawnerPool::Options options = {.idle_max = 4, .reserve = 0}) { pool_ = make_pool(std::move(options)); }

  // Starts a text whose output the test reads.
  Started run(SpawnerLease& lease, std::string text, const PipeForTest& output) {
    int passed[] = {output.write_end.get()};
    EXPECT_TRUE(lease->send_with(to_pipe(std::move(text)), passed).has_value());
    return await<Started>(*lease).value_or(Started{});
  }

  std::string output_of(SpawnerLease& lease, std::string text) {
    PipeForTest output;
    run(lease, std::move(text), output);
    output.write_end.reset();
    std::string whole;
    char buffer[4096];
    ssize_t got;
    while ((got = ::read(output.read_end.get(), buffer, sizeof buffer)) > 0)
      whole.append(buffer, static_cast<std::size_t>(got));
    EXPECT_TRUE(await<Childless>(*lease).has_value());
    return whole;
  }

  std::optional<PoolEvent> next_event() {
    std::optional<PoolEvent> event;
    (void)happens([&] {
      pool_->on_readable();
      return (event = pool_->poll_event()).has_value();
    });
    return event;
  }

  std::unique_ptr<SpawnerPool> pool_;
};

TEST_F(SpawnerPoolTest, RunsALaunchThatIsSentBeforeItsSpawnerExists) {
  start();
  auto lease = acquire(*pool_);
  EXPECT_FALSE(lease->operator->()->is_ready());
  EXPECT_EQ(output_of(*lease, "echo $((6 * 7))"), "42\n");
  EXPECT_TRUE((*lease)->is_ready());
  EXPECT_NE((*lease)->pid(), pool_->zygote_pid());
}

TEST_F(SpawnerPoolTest, UsesASpawnerAgain) {
  start();
  pid_t first = 0;
  for (int i = 0; i < 3; ++i) {
    auto lease = acquire(*pool_);
    EXPECT_EQ(output_of(*lease, "echo again"), "again\n");
    if (first == 0) first = (*lease)->pid();
    EXPECT_EQ((*lease)->pid(), first);
  }
  EXPECT_EQ(pool_->idle_count(), 1u);
  EXPECT_EQ(pool_->leased_count(), 0u);
}

TEST_F(SpawnerPoolTest, LeaksNoDescriptorOverManyLaunches) {
  start();
  auto lease = acquire(*pool_);
  (void)output_of(*lease, "exit 0");
  pid_t spawner = (*lease)->pid();
  std::size_t before = open_descriptors(spawner);
  for (int i = 0; i < 200; ++i) {
    PipeForTest output;
    int passed[] = {output.write_end.get(), output.write_end.get(), output.write_end.get()};
    Launch launch = to_pipe("exit 0");
    if (i % 4 == 1) launch.programs[0].path = "/no/such/file";
    if (i % 4 == 2) launch.programs.insert(launch.programs.begin(), {.path = "/nowhere", .output = Stream::passed});
    launch.account_io = true;
    launch.programs[0].guarded_input = i % 4 == 3;
    EXPECT_TRUE((*lease)->send_with(launch, passed).has_value());
    ASSERT_TRUE(await<Childless>(**lease).has_value()) << "launch " << i;
  }
  EXPECT_EQ(open_descriptors(spawner), before);
  EXPECT_EQ((*lease)->pid(), spawner);
}

TEST_F(SpawnerPoolTest, EndsWhatForkedTwiceBeforeItIsUsedAgain) {
  start();
  auto lease = acquire(*pool_);
  PipeForTest output;
  run(*lease, std::string(kEscape) + "exit 0", output);
  pid_t escaped = output.read_pid();
  ASSERT_TRUE(await<Exited>(**lease).has_value());
  EXPECT_TRUE(is_alive(escaped)) << "it outlived its program";
  (*lease)->send(EndAll{});
  ASSERT_TRUE(await<Childless>(**lease).has_value());
  EXPECT_FALSE(is_alive(escaped));
  EXPECT_EQ(output_of(*lease, "echo clean"), "clean\n");
}

TEST_F(SpawnerPoolTest, IgnoresWhatCameTooLateForTheLastLaunch) {
  start();
  auto lease = acquire(*pool_);
  (void)output_of(*lease, "exit 0");
  (*lease)->send(RequestSurvey{});
  (*lease)->send(EndAll{});
  (*lease)->send(SendSignal{.signal = SIGKILL, .programs = {0}, .strays_too = true});
  PipeForTest output;
  int passed[] = {output.write_end.get()};
  ASSERT_TRUE((*lease)->send_with(to_pipe("echo alive"), passed).has_value());
  std::optional<LaunchEvent> first;
  ASSERT_TRUE(happens([&] {
    auto event = (*lease)->poll_event();
    if (event && event->has_value()) first = **event;
    return first.has_value();
  }));
  EXPECT_TRUE(std::holds_alternative<Started>(*first)) << "neither a survey nor an end of the launch before";
  EXPECT_EQ(output.read_line(), "alive");
  auto exited = await<Exited>(**lease);
  ASSERT_TRUE(exited.has_value());
  EXPECT_TRUE(ProcessStatus::from_wait(exited->wait_status).success());
}

TEST_F(SpawnerPoolTest, IsUsableAfterALaunchThatFailed) {
  start();
  auto lease = acquire(*pool_);
  Launch launch{.programs = {shell("exec sleep 1000"), {.path = "/no/such/file", .arguments = {"x"}}}};
  launch.programs[0].output = Stream::neighbour;
  launch.programs[1].input = Stream::neighbour;
  (*lease)->send(launch);
  auto failed = await<LaunchFailed>(**lease);
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->error, ENOENT);
  ASSERT_TRUE(await<Childless>(**lease).has_value());
  EXPECT_EQ(output_of(*lease, "echo next"), "next\n");
}

TEST_F(SpawnerPoolTest, KeepsAsManyIdleAsItMay) {
  start({.idle_max = 1, .reserve = 0});
  std::vector<pid_t> spawners;
  {
    auto first = acquire(*pool_), second = acquire(*pool_);
    (void)output_of(*first, "exit 0");
    (void)output_of(*second, "exit 0");
    spawners = {(*first)->pid(), (*second)->pid()};
    EXPECT_EQ(pool_->leased_count(), 2u);
  }
  EXPECT_EQ(pool_->idle_count(), 1u);
  EXPECT_TRUE(happens([&] { return is_alive(spawners[0]) != is_alive(spawners[1]); }));
  pool_->shrink_idle(0);
  EXPECT_TRUE(happens([&] { return !is_alive(spawners[0]) && !is_alive(spawners[1]); }));
  EXPECT_EQ(pool_->poll_event(), std::nullopt) << "an end that was asked for is no news";
}

TEST_F(SpawnerPoolTest, WarmsAReserve) {
  start({.idle_max = 4, .reserve = 2});
  EXPECT_TRUE(happens([&] {
    pool_->on_readable();
    return pool_->idle_count() == 2;
  }));
  auto lease = acquire(*pool_);
  EXPECT_TRUE((*lease)->is_ready());
  EXPECT_TRUE(happens([&] {
    pool_->on_readable();
    return pool_->idle_count() == 2;
  }));
}

TEST_F(SpawnerPoolTest, EndsWhatRunsWhenTheLeaseEnds) {
  start();
  auto lease = acquire(*pool_);
  PipeForTest output;
  Started started = run(*lease, std::string(kEscape) + "exec sleep 1000", output);
  pid_t escaped = output.read_pid();
  lease.reset();
  EXPECT_TRUE(happens([&] { return !is_alive(escaped) && !is_alive(started.pids[0]); }));
  EXPECT_EQ(pool_->idle_count(), 0u);
}

TEST_F(SpawnerPoolTest, DoesNotUseAnIdleSpawnerThatWasKilled) {
  start();
  {
    auto lease = acquire(*pool_);
    (void)output_of(*lease, "exit 0");
    ::kill((*lease)->pid(), SIGKILL);
    EXPECT_TRUE(happens([&] { return !is_alive((*lease)->pid()); }));
  }
  auto lease = acquire(*pool_);
  EXPECT_EQ(output_of(*lease, "echo works"), "works\n");
}

TEST_F(SpawnerPoolTest, KilledSpawnerLeavesNothing) {
  start();
  auto lease = acquire(*pool_);
  PipeForTest output;
  Started started = run(*lease, std::string(kEscape) + "exec sleep 1000", output);
  pid_t escaped = output.read_pid(), spawner = (*lease)->pid();
  ::kill(spawner, SIGKILL);
  EXPECT_TRUE(happens([&] { return !is_alive(started.pids[0]); })) << "the parent-death signal";
  EXPECT_TRUE(happens([&] { return !is_alive(escaped); })) << "the zygote inherits it";
  EXPECT_TRUE(is_lost(**lease));
  auto event = next_event();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, PoolEvent::Kind::spawner_lost);
  EXPECT_EQ(event->pid, spawner);
  EXPECT_EQ(event->wait_status, SIGKILL);
  EXPECT_TRUE(event->was_leased);
  lease = acquire(*pool_);
  EXPECT_EQ(output_of(*lease, "echo next"), "next\n");
}

TEST_F(SpawnerPoolTest, KilledZygoteLeavesItsSpawnersAlone) {
  start();
  auto lease = acquire(*pool_);
  PipeForTest output;
  Started started = run(*lease, "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 0.01; done", output);
  EXPECT_EQ(output.read_line(), "ready");
  ::kill(pool_->zygote_pid(), SIGKILL);
  auto event = next_event();
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->kind, PoolEvent::Kind::zygote_lost);
  EXPECT_FALSE(pool_->has_zygote());
  auto refused = pool_->acquire();
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error(), HasSubstr("restart"));
  (*lease)->send(SendSignal{.signal = SIGTERM, .programs = {0}});
  EXPECT_EQ(output.read_line(), "got");
  auto exited = await<Exited>(**lease);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(ProcessStatus::from_wait(exited->wait_status).exit_code(), 5);
  ASSERT_TRUE(await<Childless>(**lease).has_value());
  lease.reset();
  lease = acquire(*pool_);
  EXPECT_EQ(output_of(*lease, "echo idle ones work"), "idle ones work\n");
}

TEST_F(SpawnerPoolTest, KillsASpawnerThatAProgramHasStopped) {
  start();
  auto lease = acquire(*pool_);
  PipeForTest output;
  int passed[] = {output.write_end.get()};
  ASSERT_TRUE((*lease)->send_with(to_pipe("kill -STOP $PPID; echo stopped; exec sleep 1000"), passed).has_value());
  EXPECT_EQ(output.read_line(), "stopped");
  lease->wake();
  auto started = await<Started>(**lease);
  ASSERT_TRUE(started.has_value()) << "it goes on";
  ::kill((*lease)->pid(), SIGSTOP);
  lease->kill();
  EXPECT_TRUE(happens([&] { return !is_alive(started->pids[0]) && !is_alive((*lease)->pid()); }));
}

TEST_F(SpawnerPoolTest, ProgramsInheritNothingOfTheNode) {
  UniqueFd leaked(::open("/dev/null", O_RDONLY));  // without O_CLOEXEC: whoever started the node left it open
  ASSERT_TRUE(leaked);
  auto before = ::signal(SIGPIPE, SIG_IGN);
  start();
  ::signal(SIGPIPE, before);
  auto lease = acquire(*pool_);
  EXPECT_EQ(output_of(*lease, "pwd"), "/\n");
  EXPECT_EQ(output_of(*lease, "readlink /proc/self/fd/0; readlink /proc/self/fd/2"), "/dev/null\n/dev/null\n");
  EXPECT_EQ(output_of(*lease, "exec ls /proc/self/fd"), "0\n1\n2\n3\n") << "the last one is what ls reads";
  std::string status = output_of(*lease, "cat /proc/self/status");
  EXPECT_THAT(status, HasSubstr("SigBlk:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("SigIgn:\t0000000000000000"));
  std::string session = output_of(*lease, "cut -d' ' -f6 /proc/self/stat");
  EXPECT_EQ(session, std::to_string(pool_->zygote_pid()) + "\n");
}

TEST_F(SpawnerPoolTest, SurvivesAKillOfTheNodesGroup) {
  start();
  auto lease = acquire(*pool_);
  (void)output_of(*lease, "exit 0");
  EXPECT_NE(::getpgid(pool_->zygote_pid()), ::getpgrp());
  EXPECT_NE(::getpgid((*lease)->pid()), ::getpgid(pool_->zygote_pid())) << "a stage's `kill 0` must not reach further";
}

// A node in a process of its own, which the test kills: it reports the numbers of its processes through a pipe.
TEST_F(SpawnerPoolTest, KilledNodeLeavesNoOrdinaryLaunch) {
  PipeForTest report;
  pid_t node = ::fork();
  if (node == 0) {
    auto pool = make_pool({.reserve = 1});
    auto lease = pool->acquire();
    int passed[] = {report.write_end.get()};
    (void)(*lease)->send_with(to_pipe(std::string(kEscape) + "echo $$; echo $PPID; exec sleep 1000"), passed);
    std::string zygote = std::to_string(pool->zygote_pid()) + "\n";
    (void)!::write(report.write_end.get(), zygote.data(), zygote.size());
    while (true) ::pause();
  }
  std::vector<pid_t> pids;
  for (int i = 0; i < 4; ++i) pids.push_back(report.read_pid());
  for (pid_t pid : pids) EXPECT_TRUE(is_alive(pid)) << pid;
  ::kill(node, SIGKILL);
  EXPECT_TRUE(happens([&] { return std::ranges::none_of(pids, is_alive); })) << "program, stray, spawner and zygote";
  EXPECT_TRUE(happens([] {
    ::waitpid(-1, nullptr, WNOHANG);
    return children_of(::getpid()).empty();
  })) << "not even the idle spawner";
}

// --- another user --------------------------------------------------------------------------------------------------

constexpr RunAs kNobody{.uid = 65534, .gid = 65534, .groups = {}};

class RunAsTest : public SpawnerPoolTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can run programs as another user";
    start();
    lease_ = acquire(*pool_);
  }
  std::string as(RunAs user, std::string text) {
    PipeForTest output;
    Launch launch = to_pipe(std::move(text));
    launch.run_as = user;
    launch.programs[0].error = Stream::as_stdout;
    int passed[] = {output.write_end.get()};
    EXPECT_TRUE((*lease_)->send_with(launch, passed).has_value());
    output.write_end.reset();
    std::string whole;
    while (true) {
      std::string line = output.read_line();
      if (line.empty()) break;
      whole += line + "\n";
    }
    EXPECT_TRUE(await<Childless>(**lease_).has_value());
    return whole;
  }
  void TearDown() override { lease_.reset(); }
  std::optional<SpawnerLease> lease_;
};

TEST_F(RunAsTest, ChangesUserGroupAndGroups) {
  RunAs user = kNobody;
  user.groups = {7, 8};
  EXPECT_EQ(as(user, "id -u; id -g; grep Groups: /proc/self/status; grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status"),
            "65534\n65534\nGroups:\t7 8 \nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
            "CapAmb:\t0000000000000000\n");
  EXPECT_EQ(as({.uid = 0, .gid = 0, .groups = {}}, "id -u"), "0\n") << "the next launch is another's";
}

TEST_F(RunAsTest, GivesThePipesToTheUser) { EXPECT_EQ(as(kNobody, "echo text > /dev/stdout"), "text\n"); }

TEST_F(RunAsTest, CanReachNeitherTheKeyNorTheSpawner) {
  FolderForTest folder;
  UniqueFd key(::open((folder / "key").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  ::chmod(folder.path().c_str(), 0755);
  EXPECT_THAT(as(kNobody, "cat " + folder / "key"), HasSubstr("Permission denied"));
  EXPECT_THAT(as(kNobody, "kill -9 $PPID"), HasSubstr("not permitted"));
  EXPECT_THAT(as(kNobody, "cat /proc/$PPID/mem | head -c1"), HasSubstr("Permission denied"));
  EXPECT_THAT(as(kNobody, "ls /proc/$PPID/fd"), HasSubstr("Permission denied"));
}

TEST_F(RunAsTest, IsSignalledAndDiesWithItsSpawner) {
  PipeForTest output;
  Launch launch = to_pipe("trap 'echo got' TERM; echo ready; while :; do sleep 0.01; done");
  launch.run_as = kNobody;
  int passed[] = {output.write_end.get()};
  ASSERT_TRUE((*lease_)->send_with(launch, passed).has_value());
  auto started = await<Started>(**lease_);
  ASSERT_TRUE(started.has_value());
  EXPECT_EQ(output.read_line(), "ready");
  (*lease_)->send(SendSignal{.signal = SIGTERM, .programs = {0}});
  EXPECT_EQ(output.read_line(), "got");
  // The zygote is stopped, so that only the parent-death signal can be what ends it.
  ::kill(pool_->zygote_pid(), SIGSTOP);
  ::kill((*lease_)->pid(), SIGKILL);
  EXPECT_TRUE(happens([&] { return !is_alive(started->pids[0]); }));
  ::kill(pool_->zygote_pid(), SIGCONT);
}

TEST_F(RunAsTest, EntersTheFolderAsTheUser) {
  FolderForTest folder;  // 0700, root's
  Launch launch{.programs = {shell("exit 0")}, .directory = folder.path()};
  launch.run_as = kNobody;
  (*lease_)->send(launch);
  auto failed = await<LaunchFailed>(**lease_);
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->error, EACCES);
  EXPECT_EQ(failed->action, "change to the folder");
  EXPECT_TRUE(await<Childless>(**lease_).has_value());
}

TEST(RunAs, IsRefusedToAnOrdinaryUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to become an ordinary user first";
  become_subreaper();
  PipeForTest report;
  pid_t node = ::fork();
  if (node == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(1);
    auto pool = make_pool({.reserve = 0});
    auto lease = acquire(*pool);
    Launch launch{.programs = {shell("exit 0")}};
    launch.run_as = RunAs{.uid = 0, .gid = 0, .groups = {}};
    (*lease)->send(launch);
    auto failed = await<LaunchFailed>(**lease);
    std::string line = failed ? failed->action + ": " + std::strerror(failed->error) + "\n" : "it started\n";
    (void)!::write(report.write_end.get(), line.data(), line.size());
    (void)await<Childless>(**lease);
    ::_exit(0);
  }
  EXPECT_EQ(report.read_line(), "become the user of: Operation not permitted");
  ::waitpid(node, nullptr, 0);
  end_all_children({});
}

// --- cgroups -------------------------------------------------------------------------------------------------------

class PoolCgroupTest : public SpawnerPoolTest, public testing::WithParamInterface<CgroupVersion> {
 protected:
  void SetUp() override {
    std::vector<CgroupPlace> places = find_cgroups();
    std::erase_if(places, [](const CgroupPlace& place) { return place.version != GetParam(); });
    auto home = make_cgroup_home(places, "sluice-test-" + std::to_string(::getpid()));
    if (!home) GTEST_SKIP() << home.error();
    home_ = *home;
    start({.idle_max = 4, .reserve = 1, .cgroup_home = home_});
    ASSERT_TRUE(happens([&] {
      pool_->on_readable();
      return pool_->idle_count() == 1;
    }));
    lease_ = acquire(*pool_);
  }
  void TearDown() override {
    lease_.reset();
    pool_.reset();
    end_all_children({});
    if (home_.directory.empty()) return;
    auto ended = end_leftovers(home_.directory, {});
    EXPECT_TRUE(ended.has_value()) << ended.error();
    EXPECT_NE(::access(home_.directory.c_str(), F_OK), 0);
  }
  CgroupPlace home_;
  std::optional<SpawnerLease> lease_;
};

TEST_P(PoolCgroupTest, ProgramsAreBornIntoTheirSpawnersGroup) {
  const std::string& group = (*lease_)->cgroup();
  ASSERT_TRUE(group.starts_with(home_.directory + "/")) << group;
  std::string name = group.substr(home_.directory.rfind('/'));
  EXPECT_THAT(output_of(*lease_, "cat /proc/self/cgroup"), HasSubstr(name + "\n"));
}

TEST_P(PoolCgroupTest, GroupIsRemovedWithItsSpawner) {
  std::string group = (*lease_)->cgroup();
  EXPECT_EQ(::access(group.c_str(), F_OK), 0);
  PipeForTest output;
  run(*lease_, std::string(kEscape) + "exec sleep 1000", output);
  pid_t escaped = output.read_pid();
  lease_.reset();
  EXPECT_TRUE(happens([&] { return ::access(group.c_str(), F_OK) != 0; }));
  EXPECT_FALSE(is_alive(escaped));
}

TEST_P(PoolCgroupTest, NothingIsLeftWhenSpawnerAndZygoteAreKilled) {
  PipeForTest output;
  Started started = run(*lease_, std::string(kEscape) + "exec sleep 1000", output);
  pid_t escaped = output.read_pid();
  // The test, a subreaper, stands for a host's init, which would let the stray live.
  ::kill(pool_->zygote_pid(), SIGKILL);
  ::kill((*lease_)->pid(), SIGKILL);
  EXPECT_TRUE(is_lost(**lease_));
  auto event = next_event();
  while (event && event->kind != PoolEvent::Kind::zygote_lost) event = next_event();
  ASSERT_TRUE(event.has_value());
  lease_.reset();
  EXPECT_TRUE(happens([&] { return !is_alive(escaped) && !is_alive(started.pids[0]); }));
}

TEST_P(PoolCgroupTest, TheNextStartEndsWhatAnEarlierOneLeft) {
  PipeForTest output;
  run(*lease_, std::string(kEscape) + "exec sleep 1000", output);
  pid_t escaped = output.read_pid();
  std::string group = (*lease_)->cgroup();
  ::kill(pool_->zygote_pid(), SIGKILL);
  ::kill((*lease_)->pid(), SIGKILL);
  std::vector<std::string> spared = {group};
  auto ended = end_leftovers(home_.directory, spared);
  EXPECT_TRUE(ended.has_value()) << ended.error();
  EXPECT_TRUE(is_alive(escaped));
  ended = end_leftovers(home_.directory, {});
  EXPECT_TRUE(ended.has_value()) << ended.error();
  EXPECT_TRUE(happens([&] { return !is_alive(escaped); }));
  EXPECT_NE(::access(group.c_str(), F_OK), 0);
}

INSTANTIATE_TEST_SUITE_P(Versions, PoolCgroupTest, testing::Values(CgroupVersion::v1, CgroupVersion::v2),
                         [](const auto& version) { return version.param == CgroupVersion::v1 ? "V1" : "V2"; });

TEST_F(SpawnerPoolTest, DoesWithoutACgroupThatItCannotMake) {
  start({.idle_max = 4,
         .reserve = 0,
         .cgroup_home = CgroupPlace{.version = CgroupVersion::v2, .directory = "/nonexistent/home"}});
  auto lease = acquire(*pool_);
  EXPECT_EQ(output_of(*lease, "echo works"), "works\n");
  EXPECT_TRUE((*lease)->cgroup().empty());
}

}  // namespace
}  // namespace sluice::exec
