#include "exec/kept_flow.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "exec/kept_socket.h"
#include "exec/processes_for_test.h"
#include "exec/spawner_pool.h"
#include "exec/subreaper.h"

namespace sluice::exec {
namespace {

using testing::HasSubstr;

constexpr OutputName kOut{.program = 0, .kind = OutputKind::output};
constexpr OutputName kErr{.program = 0, .kind = OutputKind::error};

Launch kept(const std::string& directory, std::string text) {
  Launch launch{.programs = {shell(std::move(text))}, .environment = {"PATH=/bin:/usr/bin"}, .directory = directory};
  launch.programs[0].output = Stream::captured;
  launch.programs[0].error = Stream::captured;
  launch.keep = Keep{.directory = directory};
  return launch;
}

std::unique_ptr<SpawnerPool> make_pool() {
  auto zygote = ZygoteClient::fork_zygote();
  if (!zygote) std::abort();
  return std::make_unique<SpawnerPool>(std::move(*zygote), SpawnerPool::Options{.idle_max = 2, .reserve = 0});
}

// Each launch in a folder of its own; the test plays the node, or kills one that it has forked.
class KeptFlowTest : public testing::Test {
 protected:
  KeptFlowTest() { become_subreaper(); }
  ~KeptFlowTest() override {
    pool_.reset();
    end_all_children({});
  }

  SpawnerLease lease() {
    if (!pool_) pool_ = make_pool();
    auto lease = pool_->acquire();
    if (!lease) std::abort();
    return std::move(*lease);
  }

  struct Node {
    pid_t pid = 0, zygote = 0, spawner = 0;
    std::vector<pid_t> programs;
  };
  // A node in a process of its own that has started the launch and then does nothing.
  Node start_node(const Launch& launch, std::vector<int> passed = {}) {
    PipeForTest report;
    Node node;
    node.pid = ::fork();
    if (node.pid == 0) {
      ::prctl(PR_SET_CHILD_SUBREAPER, 0);
      auto pool = make_pool();
      auto lease = pool->acquire();
      (void)(*lease)->send_with(launch, passed);
      auto started = await<Started>(**lease);
      std::string text = std::to_string(pool->zygote_pid()) + "\n" + std::to_string((*lease)->pid()) + "\n";
      for (pid_t program : started.value_or(Started{}).pids) text += std::to_string(program) + "\n";
      (void)!::write(report.write_end.get(), text.data(), text.size());
      while (true) ::pause();
    }
    node.zygote = report.read_pid();
    node.spawner = report.read_pid();
    for (std::size_t i = 0; i < launch.programs.size(); ++i) node.programs.push_back(report.read_pid());
    return node;
  }
  static void kill_node(const Node& node) {
    ::kill(node.pid, SIGKILL);
    ::waitpid(node.pid, nullptr, 0);
  }

  template <class State>
  std::optional<State> state() const {
    auto read = read_kept(folder_.path());
    EXPECT_TRUE(read.has_value()) << read.error();
    if (!read || !std::holds_alternative<State>(*read)) return std::nullopt;
    return std::get<State>(std::move(*read));
  }
  std::optional<KeptEnded> await_end() const {
    std::optional<KeptEnded> ended;
    EXPECT_TRUE(happens([&] { return (ended = state<KeptEnded>()).has_value(); }));
    return ended;
  }
  std::string text_of(OutputName name) const {
    std::string text;
    while (true) {
      auto chunk = read_output(folder_.path(), name, text.size(), 4096);
      EXPECT_TRUE(chunk.has_value()) << chunk.error();
      if (!chunk || chunk->bytes.empty()) return text;
      text += chunk->bytes;
    }
  }
  void release() const { std::ofstream(folder_ / "go") << "go"; }
  static int exit_code(const KeptProgram& program) {
    return program.exited ? ProcessStatus::from_wait(program.exited->wait_status).exit_code() : -1;
  }

  FolderForTest folder_;
  std::unique_ptr<SpawnerPool> pool_;
};

// A shell text that goes on when the test says so.
constexpr const char* kAwaitGo = "while [ ! -e go ]; do sleep 0.01; done; ";

TEST_F(KeptFlowTest, TellsRunningFromEnded) {
  EXPECT_TRUE(state<KeptAbsent>().has_value());
  auto spawner = lease();
  spawner->send(kept(folder_.path(), std::string("echo out; echo err >&2; ") + kAwaitGo + "exit 3"));
  auto started = await<Started>(*spawner);
  ASSERT_TRUE(started.has_value());
  auto running = state<KeptRunning>();
  ASSERT_TRUE(running && running->record);
  EXPECT_EQ(running->record->spawner_pid, spawner->pid());
  ASSERT_EQ(running->record->programs.size(), 1u);
  EXPECT_EQ(running->record->programs[0].pid, started->pids[0]);
  ProcessStat stat;
  ASSERT_TRUE(read_process_stat(started->pids[0], stat));
  EXPECT_EQ(running->record->programs[0].start_ticks, stat.start_ticks);
  release();
  auto exited = await<Exited>(*spawner);
  ASSERT_TRUE(exited.has_value());
  EXPECT_TRUE(await<Childless>(*spawner).has_value());
  auto ended = state<KeptEnded>();
  ASSERT_TRUE(ended.has_value()) << "the record is there before anybody is told";
  EXPECT_EQ(ended->record.end, KeptEnd::completed);
  EXPECT_EQ(exit_code(ended->record.programs[0]), 3);
  EXPECT_GE(ended->record.ended_at_us, ended->record.started_at_us);
  EXPECT_EQ(text_of(kOut), "out\n");
  EXPECT_EQ(text_of(kErr), "err\n");
}

TEST_F(KeptFlowTest, GivesItsSpawnerBackToThePool) {
  auto spawner = lease();
  spawner->send(kept(folder_.path(), "exit 0"));
  ASSERT_TRUE(await<Childless>(*spawner).has_value());
  std::size_t before = open_descriptors(spawner->pid());
  for (int i = 0; i < 3; ++i) {
    FolderForTest next;
    spawner->send(kept(next.path(), "echo again"));
    ASSERT_TRUE(await<Childless>(*spawner).has_value());
    auto read = read_kept(next.path());
    EXPECT_TRUE(read && std::holds_alternative<KeptEnded>(*read));
  }
  EXPECT_EQ(open_descriptors(spawner->pid()), before);
}

TEST_F(KeptFlowTest, KeepsEachStagesStderrApart) {
  auto spawner = lease();
  Launch launch = kept(folder_.path(), "echo first >&2; echo data");
  launch.programs[0].output = Stream::neighbour;
  launch.programs.push_back(shell("tr a-z A-Z; echo second >&2"));
  launch.programs[1].input = Stream::neighbour;
  launch.programs[1].output = launch.programs[1].error = Stream::captured;
  spawner->send(launch);
  ASSERT_TRUE(await<Childless>(*spawner).has_value());
  EXPECT_EQ(text_of({0, OutputKind::error}), "first\n");
  EXPECT_EQ(text_of({1, OutputKind::error}), "second\n");
  EXPECT_EQ(text_of({1, OutputKind::output}), "DATA\n");
  auto ended = state<KeptEnded>();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->record.outputs.size(), 3u);
}

TEST_F(KeptFlowTest, GoesOnWhenTheNodeIsKilledAndIsFoundAgain) {
  Node node = start_node(kept(folder_.path(), std::string("echo one; ") + kAwaitGo + "echo two; exit 7"));
  kill_node(node);
  EXPECT_TRUE(is_alive(node.programs[0]));
  ASSERT_TRUE(state<KeptRunning>().has_value());
  auto attached = SpawnerClient::attach(folder_.path());
  ASSERT_TRUE(attached.has_value());
  EXPECT_EQ(attached->pid(), node.spawner);
  auto started = await<Started>(*attached);
  ASSERT_TRUE(started.has_value());
  EXPECT_EQ(started->pids, node.programs);
  release();
  auto exited = await<Exited>(*attached);
  ASSERT_TRUE(exited.has_value());
  EXPECT_EQ(ProcessStatus::from_wait(exited->wait_status).exit_code(), 7);
  EXPECT_TRUE(await<Childless>(*attached).has_value());
  EXPECT_TRUE(is_lost(*attached)) << "it goes to no pool";
  EXPECT_EQ(text_of(kOut), "one\ntwo\n");
  EXPECT_TRUE(happens([&] { return !is_alive(node.spawner) && !is_alive(node.zygote); }));
}

TEST_F(KeptFlowTest, EndsWhileNobodyIsThere) {
  Node node = start_node(kept(folder_.path(), std::string(kAwaitGo) + "echo late; kill -9 $$"));
  kill_node(node);
  release();
  auto ended = await_end();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->record.end, KeptEnd::completed);
  ASSERT_TRUE(ended->record.programs[0].exited.has_value());
  EXPECT_EQ(ended->record.programs[0].exited->wait_status, SIGKILL);
  EXPECT_EQ(text_of(kOut), "late\n");
  EXPECT_TRUE(happens([&] { return !is_alive(node.spawner) && !is_alive(node.zygote); })) << "nothing is left to do";
  auto attached = SpawnerClient::attach(folder_.path());
  ASSERT_FALSE(attached.has_value());
  EXPECT_EQ(attached.error(), AttachError::nobody);
}

TEST_F(KeptFlowTest, CanBeEndedByANewOwner) {
  Node node = start_node(kept(folder_.path(), std::string(kEscape) + "exec sleep 1000"));
  ASSERT_TRUE(happens([&] { return !text_of(kOut).empty(); }));
  kill_node(node);
  auto attached = SpawnerClient::attach(folder_.path());
  ASSERT_TRUE(attached.has_value());
  attached->send(EndAll{});
  EXPECT_TRUE(await<Childless>(*attached).has_value());
  auto ended = state<KeptEnded>();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->record.programs[0].exited->wait_status, SIGKILL);
  EXPECT_FALSE(is_alive(std::stoi(text_of(kOut))));
}

TEST_F(KeptFlowTest, TellsTheStorySoFarToWhoeverAttaches) {
  Launch launch = kept(folder_.path(), "exit 4");
  launch.programs.push_back(shell(std::string(kAwaitGo) + "exit 5"));
  Node node = start_node(launch);
  kill_node(node);
  ASSERT_TRUE(happens([&] { return !is_alive(node.programs[0]); }));
  for (int i = 0; i < 3; ++i) {  // each takes it over from the one before
    auto attached = SpawnerClient::attach(folder_.path());
    ASSERT_TRUE(attached.has_value());
    ASSERT_TRUE(await<Started>(*attached).has_value());
    auto exited = await<Exited>(*attached);
    ASSERT_TRUE(exited.has_value());
    EXPECT_EQ(exited->program, 0u);
    EXPECT_EQ(ProcessStatus::from_wait(exited->wait_status).exit_code(), 4);
  }
  release();
  auto ended = await_end();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(exit_code(ended->record.programs[0]), 4);
  EXPECT_EQ(exit_code(ended->record.programs[1]), 5);
}

TEST_F(KeptFlowTest, EndsWithItsOwnerIfItCannotGoOn) {
  Launch launch = kept(folder_.path(), std::string(kEscape) + "exec sleep 1000");
  launch.keep->survives_owner = false;
  Node node = start_node(launch);
  ASSERT_TRUE(happens([&] { return !text_of(kOut).empty(); }));
  pid_t escaped = std::stoi(text_of(kOut));
  kill_node(node);
  auto ended = await_end();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->record.end, KeptEnd::owner_lost);
  EXPECT_FALSE(is_alive(escaped));
  EXPECT_FALSE(is_alive(node.programs[0]));
}

TEST_F(KeptFlowTest, RefusesToGoOnWithStreamsOfItsOwner) {
  auto spawner = lease();
  Launch launch = kept(folder_.path(), "exit 0");
  launch.programs[0].output = Stream::passed;
  PipeForTest pipe;
  int passed[] = {pipe.write_end.get()};
  ASSERT_TRUE(spawner->send_with(launch, passed).has_value());
  auto failed = await<LaunchFailed>(*spawner);
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->error, EINVAL);
  EXPECT_TRUE(await<Childless>(*spawner).has_value());
  EXPECT_TRUE(state<KeptAbsent>().has_value());
}

TEST_F(KeptFlowTest, RefusesAFolderThatIsTakenOrMissing) {
  auto first = lease(), second = lease();
  first->send(kept(folder_.path(), std::string(kAwaitGo)));
  ASSERT_TRUE(await<Started>(*first).has_value());
  second->send(kept(folder_.path(), "exit 0"));
  auto failed = await<LaunchFailed>(*second);
  ASSERT_TRUE(failed.has_value());
  EXPECT_THAT(failed->action, HasSubstr("lock"));
  ASSERT_TRUE(await<Childless>(*second).has_value());
  second->send(kept("/no/such/folder", "exit 0"));
  failed = await<LaunchFailed>(*second);
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(failed->error, ENOENT);
  EXPECT_TRUE(state<KeptRunning>().has_value()) << "the first one is not disturbed";
  release();
  EXPECT_TRUE(await<Childless>(*first).has_value());
}

TEST_F(KeptFlowTest, GoesOnWhenTheZygoteIsKilled) {
  Node node = start_node(kept(folder_.path(), std::string(kAwaitGo) + "exit 6"));
  ::kill(node.zygote, SIGKILL);
  kill_node(node);
  release();
  auto ended = await_end();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(exit_code(ended->record.programs[0]), 6);
}

TEST_F(KeptFlowTest, IsLostWhenItsSpawnerIsKilled) {
  Node node = start_node(kept(folder_.path(), std::string(kEscape) + "exec sleep 1000"));
  ASSERT_TRUE(happens([&] { return !text_of(kOut).empty(); }));
  pid_t escaped = std::stoi(text_of(kOut));
  kill_node(node);
  ::kill(node.spawner, SIGKILL);
  EXPECT_TRUE(happens([&] { return !is_alive(node.programs[0]); })) << "the parent-death signal";
  EXPECT_TRUE(happens([&] { return !is_alive(escaped); })) << "the zygote";
  auto lost = state<KeptLost>();
  ASSERT_TRUE(lost.has_value());
  EXPECT_EQ(lost->record.programs[0].pid, node.programs[0]);
  EXPECT_TRUE(happens([&] { return !is_alive(node.zygote); }));
}

TEST_F(KeptFlowTest, EndsWhatIsLeftOfALostOneAndNothingElse) {
  pid_t left = ::fork(), other = 0;
  if (left == 0) {
    while (true) ::pause();
  }
  other = ::fork();
  if (other == 0) {
    while (true) ::pause();
  }
  ProcessStat stat, other_stat;
  ASSERT_TRUE(read_process_stat(left, stat) && read_process_stat(other, other_stat));
  KeptRecord record{.boot_id = read_boot_id(),
                    .programs = {{.pid = left, .start_ticks = stat.start_ticks},
                                 {.pid = other, .start_ticks = other_stat.start_ticks + 1}}};
  KeptRecord earlier = record;
  earlier.boot_id = "another boot";
  end_lost(earlier);
  EXPECT_TRUE(is_alive(left));
  end_lost(record);
  EXPECT_TRUE(happens([&] { return !is_alive(left); }));
  EXPECT_TRUE(is_alive(other)) << "its number, but started at another time";
}

TEST_F(KeptFlowTest, BoundsItsOutputAndSaysWhatItDropped) {
  auto spawner = lease();
  Launch launch = kept(folder_.path(), "yes 0123456789abcdef | head -c 1000000; echo end");
  launch.keep->output_bytes_max = 64 << 10;
  spawner->send(launch);
  ASSERT_TRUE(await<Childless>(*spawner).has_value());
  auto ended = state<KeptEnded>();
  ASSERT_TRUE(ended.has_value());
  const KeptOutput& output = ended->record.outputs[0];
  EXPECT_EQ(output.total_bytes, 1'000'004u);
  EXPECT_GE(output.dropped_bytes, 1'000'004u - (64u << 10));
  auto tail = read_output(folder_.path(), kOut, 1'000'000, 100);
  ASSERT_TRUE(tail.has_value());
  EXPECT_EQ(tail->bytes, "end\n");
  EXPECT_EQ(tail->dropped, output.dropped_bytes);
  EXPECT_EQ(tail->first_kept, output.dropped_bytes);
}

// What the owner writes for a stage of its own: the launch has such streams beside its programs, or nothing else.
TEST_F(KeptFlowTest, CapturesWhatOthersWriteToItsEnd) {
  auto spawner = lease();
  for (bool has_program : {true, false}) {
    Launch launch = kept(folder_.path(), "echo out; echo err >&2");
    launch.keep->survives_owner = false;
    if (!has_program) launch.programs.clear();
    launch.captures = {{.program = 4, .kind = OutputKind::output}, {.program = 5, .kind = OutputKind::error}};
    PipeForTest output, error;
    int passed[] = {output.read_end.get(), error.read_end.get()};
    ASSERT_TRUE(spawner->send_with(launch, passed));
    ASSERT_TRUE(await<Started>(*spawner).has_value());
    EXPECT_EQ(!has_program || await<Exited>(*spawner).has_value(), true);
    error.write_end.reset();
    ASSERT_EQ(::write(output.write_end.get(), "late", 4), 4);
    ASSERT_TRUE(happens([&] { return text_of(launch.captures[0]) == "late"; }));
    EXPECT_TRUE(state<KeptRunning>().has_value()) << "one can still be written to";
    ASSERT_EQ(::write(output.write_end.get(), "r", 1), 1);
    output.write_end.reset();
    ASSERT_TRUE(await<Childless>(*spawner).has_value());
    auto ended = state<KeptEnded>();
    ASSERT_TRUE(ended.has_value());
    EXPECT_EQ(ended->record.end, KeptEnd::completed);
    ASSERT_EQ(ended->record.outputs.size(), has_program ? 4u : 2u);
    EXPECT_EQ(ended->record.outputs[has_program ? 2 : 0].total_bytes, 5u);
    EXPECT_EQ(text_of(launch.captures[0]), "later");
    EXPECT_EQ(text_of(launch.captures[1]), "");
    for (const auto& file : std::filesystem::directory_iterator(folder_.path())) std::filesystem::remove(file.path());
  }
}

TEST_F(KeptFlowTest, DoesNotAwaitWhatALostOwnerWrote) {
  PipeForTest output;
  Launch launch = kept(folder_.path(), "exec sleep 1000");
  launch.keep->survives_owner = false;
  launch.captures = {{.program = 1, .kind = OutputKind::output}};
  Node node = start_node(launch, {output.read_end.get()});
  ASSERT_EQ(::write(output.write_end.get(), "said", 4), 4);
  kill_node(node);
  auto ended = await_end();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->record.end, KeptEnd::owner_lost);
  EXPECT_EQ(text_of(launch.captures[0]), "said");
}

TEST_F(KeptFlowTest, RefusesToCaptureForAnOwnerThatMayGo) {
  auto spawner = lease();
  for (bool keeps : {true, false}) {
    PipeForTest output;
    Launch launch = kept(folder_.path(), "exit 0");
    if (!keeps) launch.keep.reset();
    launch.captures = {{.program = 1, .kind = OutputKind::output}};
    int passed[] = {output.read_end.get()};
    ASSERT_TRUE(spawner->send_with(launch, passed));
    auto failed = await<LaunchFailed>(*spawner);
    ASSERT_TRUE(failed.has_value());
    EXPECT_EQ(failed->error, EINVAL);
    ASSERT_TRUE(await<Childless>(*spawner).has_value());
  }
}

TEST_F(KeptFlowTest, TellsAWatcherOfNewOutput) {
  auto spawner = lease();
  spawner->send(kept(folder_.path(), std::string("echo one; ") + kAwaitGo + "echo two"));
  ASSERT_TRUE(await<Started>(*spawner).has_value());
  std::optional<OutputGrew> grew;
  auto next = [&] {
    (void)spawner->poll_event();
    if (auto event = spawner->poll_output_event()) grew = std::get<OutputGrew>(*event);
    return grew.has_value();
  };
  spawner->send(WatchOutput{.output = kOut, .beyond = 0});
  ASSERT_TRUE(happens(next));
  EXPECT_EQ(grew->total_bytes, 4u);
  EXPECT_FALSE(grew->ended);
  grew.reset();
  spawner->send(WatchOutput{.output = kOut, .beyond = 4});
  release();
  ASSERT_TRUE(happens(next));
  EXPECT_EQ(grew->total_bytes, 8u);
}

// The limit of a file's size stands for a full disk.
void limit_files(pid_t spawner, rlim_t bytes) {
  rlimit limit{};
  ::prlimit(spawner, RLIMIT_FSIZE, nullptr, &limit);
  limit.rlim_cur = bytes;
  EXPECT_EQ(::prlimit(spawner, RLIMIT_FSIZE, &limit, nullptr), 0);
}

TEST_F(KeptFlowTest, DrainsWhatItCannotWriteAndSaysSo) {
  auto spawner = lease();
  spawner->send(kept(folder_.path(), std::string(kAwaitGo) + "yes | head -c 1000000"));
  ASSERT_TRUE(await<Started>(*spawner).has_value());
  limit_files(spawner->pid(), 4096);
  release();
  ASSERT_TRUE(await<Childless>(*spawner).has_value()) << "the program must never wait for the disk";
  bool said = false;
  while (auto event = spawner->poll_output_event())
    if (auto* dropped = std::get_if<OutputDropped>(&*event)) said = dropped->error == EFBIG && dropped->output == kOut;
  EXPECT_TRUE(said);
  auto ended = state<KeptEnded>();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->record.outputs[0].total_bytes, 1'000'000u);
  EXPECT_GT(ended->record.outputs[0].dropped_bytes, 0u);
  EXPECT_EQ(ended->record.outputs[0].error, EFBIG);
  EXPECT_TRUE(ProcessStatus::from_wait(ended->record.programs[0].exited->wait_status).success());
}

TEST_F(KeptFlowTest, WritesItsEndAsSoonAsItCan) {
  Node node = start_node(kept(folder_.path(), std::string(kAwaitGo) + "exit 9"));
  limit_files(node.spawner, 1);
  kill_node(node);
  release();
  ASSERT_TRUE(happens([&] { return !is_alive(node.programs[0]); }));
  auto attached = SpawnerClient::attach(folder_.path());
  ASSERT_TRUE(attached.has_value()) << "it waits for room, and answers";
  ASSERT_TRUE(await<Exited>(*attached).has_value());
  EXPECT_TRUE(state<KeptRunning>().has_value());
  limit_files(node.spawner, 1 << 20);
  EXPECT_TRUE(await<Childless>(*attached).has_value());
  auto ended = state<KeptEnded>();
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(exit_code(ended->record.programs[0]), 9);
}

TEST_F(KeptFlowTest, EndsStraysWhenNobodyIsThere) {
  Node node = start_node(kept(folder_.path(), "setsid sleep 1000 >/dev/null 2>&1 & echo $!; exit 0"));
  ASSERT_TRUE(happens([&] { return !text_of(kOut).empty(); }));
  pid_t stray = std::stoi(text_of(kOut));
  EXPECT_TRUE(is_alive(stray));
  kill_node(node);
  auto ended = await_end();
  ASSERT_TRUE(ended.has_value());
  EXPECT_FALSE(is_alive(stray));
}

TEST_F(KeptFlowTest, AwaitsAStrayThatDrainsAPipe) {
  Node node = start_node(kept(
      folder_.path(), std::string("{ echo text | { ") + kAwaitGo + "cat > drained; } >/dev/null 2>&1 & } ; exit 0"));
  kill_node(node);
  ASSERT_TRUE(happens([&] { return !is_alive(node.programs[0]); }));
  release();
  ASSERT_TRUE(await_end().has_value());
  std::ifstream drained(folder_ / "drained");
  std::string text;
  std::getline(drained, text);
  EXPECT_EQ(text, "text");
}

TEST_F(KeptFlowTest, CapturedStreamsBelongToTheUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can run programs as another user";
  auto spawner = lease();
  Launch launch = kept(folder_.path(), "echo text > /dev/stdout; echo more > /dev/stderr; cat /proc/$PPID/mem");
  launch.directory.clear();
  launch.run_as = RunAs{.uid = 65534, .gid = 65534, .groups = {}};
  spawner->send(launch);
  ASSERT_TRUE(await<Childless>(*spawner).has_value());
  EXPECT_EQ(text_of(kOut), "text\n");
  EXPECT_THAT(text_of(kErr), HasSubstr("more\n"));
  struct stat status {};
  ASSERT_EQ(::stat((folder_ / "end").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0u);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(KeptFlowTest, SocketIsForThisUserAlone) {
  auto spawner = lease();
  spawner->send(kept(folder_.path(), kAwaitGo));
  ASSERT_TRUE(await<Started>(*spawner).has_value());
  struct stat status {};
  ASSERT_EQ(::stat((folder_ / "spawner.sock").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  release();
  ASSERT_TRUE(await<Childless>(*spawner).has_value());
  EXPECT_NE(::stat((folder_ / "spawner.sock").c_str(), &status), 0);
}

TEST_F(KeptFlowTest, FindsItsSocketBelowAVeryLongPath) {
  std::string deep = folder_.path();
  for (int i = 0; i < 5; ++i) deep += "/" + std::string(100, 'd');
  std::filesystem::create_directories(deep);
  auto spawner = lease();
  Launch launch = kept(deep, kAwaitGo);
  launch.programs[0].output = Stream::inherited;
  spawner->send(launch);
  ASSERT_TRUE(await<Started>(*spawner).has_value());
  auto attached = SpawnerClient::attach(deep);
  ASSERT_TRUE(attached.has_value());
  EXPECT_TRUE(await<Started>(*attached).has_value());
  EXPECT_TRUE(is_lost(*spawner)) << "the newest owner wins";
}

TEST_F(KeptFlowTest, DoesNotTalkToASpawnerOfAnotherVersion) {
  UniqueFd directory(::open(folder_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  auto listener = listen_in(directory.get());
  ASSERT_TRUE(listener.has_value());
  auto attached = SpawnerClient::attach(folder_.path());
  ASSERT_TRUE(attached.has_value());
  UniqueFd connection = accept_owner(*listener);
  ASSERT_TRUE(connection);
  std::string hello = encode(SpawnerMessage(Hello{.version = 99, .pid = 1}));
  ASSERT_EQ(::write(connection.get(), hello.data(), hello.size()), static_cast<ssize_t>(hello.size()));
  std::string why;
  ASSERT_TRUE(happens([&] {
    auto event = attached->poll_event();
    if (!event) why = event.error();
    return !event;
  }));
  EXPECT_THAT(why, HasSubstr("another version"));
}

TEST_F(KeptFlowTest, SaysWhichRecordIsDamaged) {
  std::ofstream(folder_ / "end") << "rubbish";
  auto read = read_kept(folder_.path());
  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error(), HasSubstr(folder_ / "end"));
  std::filesystem::remove(folder_ / "end");
  std::ofstream(folder_ / "state") << std::string(1000, '\0');
  read = read_kept(folder_.path());
  ASSERT_FALSE(read.has_value());
  EXPECT_THAT(read.error(), HasSubstr(folder_ / "state"));
}

}  // namespace
}  // namespace sluice::exec
