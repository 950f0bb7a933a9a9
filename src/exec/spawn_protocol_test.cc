#include "exec/spawn_protocol.h"

#include <gtest/gtest.h>

namespace sluice::exec {
namespace {

OwnerMessage a_launch() {
  Launch launch;
  launch.programs = {{.path = "/bin/cat", .arguments = {"cat", ""}, .output = Stream::neighbour},
                     {.path = "/bin/sh", .arguments = {"sh"}, .script_shell = "/bin/sh", .guarded_input = true},
                     {.path = "/bin/tr", .arguments = {"tr"}, .by_job = true, .variables = {"A=1"}}};
  launch.environment = {"A=1", std::string("B=\xff\n", 4)};
  launch.directory = "/tmp";
  launch.process_group = 17;
  launch.account_io = true;
  launch.run_as = RunAs{.uid = 1000, .gid = 100, .groups = {100, 27}};
  launch.keep = Keep{.directory = "/var/lib/sluice/flows/1/2", .output_bytes_max = 77, .survives_owner = false};
  return launch;
}

constexpr OutputName kName{.program = 3, .kind = OutputKind::error};

std::vector<OwnerMessage> owner_messages() {
  return {a_launch(),
          Launch{},
          SendSignal{.signal = 15, .programs = {0, 4095}, .strays_too = true, .then_continue = true},
          ReleaseInput{.program = 7},
          RequestSurvey{},
          EndAll{},
          Detach{},
          WatchOutput{.output = kName, .beyond = 1ull << 40}};
}

std::vector<SpawnerMessage> spawner_messages() {
  return {Hello{.version = 1, .pid = 4711, .cgroup = "/sys/fs/cgroup/x"},
          Started{.pids = {1, 2}, .observers = 1},
          LaunchFailed{.program = 1, .error = 2, .action = "execute"},
          Exited{.program = 1, .wait_status = 9, .output_reader = Reader::open, .io_known = true, .io_write_bytes = 5},
          Childless{},
          Survey{.strays = {{.pid = 5, .name = "gzip", .drains_pipe = true}}, .total = 9},
          OutputGrew{.output = kName, .total_bytes = 5, .ended = true},
          OutputDropped{.output = kName, .error = 28}};
}

std::vector<JobRequest> job_requests() {
  return {StartJob{.job = 1ull << 40,
                   .seat = 7,
                   .arguments = {"sh", "-c", "echo '{}'"},
                   .error_passed = true,
                   .guarded_input = true},
          ReleaseJobInput{.job = 3}, SignalJob{.job = 4, .signal = 9}};
}

std::vector<JobEvent> job_events() {
  return {JobStarted{.job = 1, .pid = 2}, JobFailed{.job = 3, .error = 7, .action = "execute"},
          JobEnded{.job = 4, .wait_status = 256, .run_us = 9, .user_us = 1, .system_us = 2, .peak_memory_bytes = 3},
          JobsRefused{}};
}

std::vector<ZygoteRequest> zygote_requests() {
  return {ForkSpawner{.token = 1ull << 63, .cgroup_home = "/sys/fs/cgroup/y"}, SignalSpawner{.pid = 8, .signal = 18}};
}

std::vector<ZygoteEvent> zygote_events() {
  return {SpawnerForked{.token = 5, .pid = 6}, ForkFailed{.token = 7, .error = 11},
          SpawnerEnded{.pid = 8, .wait_status = 9}};
}

// What a reader makes of the bytes, written down again.
template <class Message>
std::string again(std::string_view bytes) {
  MessageReader<Message> reader;
  reader.append(bytes);
  std::string written;
  while (true) {
    auto message = reader.next();
    if (!message) return written + "(" + message.error() + ")";
    if (!message->has_value()) return written;
    written += encode(**message);
  }
}

template <class Message>
void expect_round_trips(const std::vector<Message>& messages) {
  std::string all;
  for (const Message& message : messages) {
    std::string frame = encode(message);
    EXPECT_EQ(again<Message>(frame), frame) << "kind " << message.index();
    all += std::string(descriptor_frame()) + frame;
  }
  EXPECT_EQ(again<Message>(all + std::string(descriptor_frame())).size() + (messages.size() * 5), all.size());
}

// Every cut waits for more, every changed byte gives a message or an error; the sanitizers watch.
template <class Message>
void expect_survives_damage(const std::vector<Message>& messages) {
  for (const Message& message : messages) {
    std::string frame = encode(message);
    for (std::size_t size = 0; size < frame.size(); ++size)
      EXPECT_EQ(again<Message>(std::string_view(frame).substr(0, size)), "");
    for (std::size_t i = 0; i < frame.size(); ++i)
      for (char value : {'\0', '\x01', '\x7f', '\xff'}) {
        std::string damaged = frame;
        damaged[i] = value;
        (void)again<Message>(damaged);
      }
  }
}

TEST(SpawnProtocol, RoundTripsEveryKind) {
  expect_round_trips(owner_messages());
  expect_round_trips(spawner_messages());
  expect_round_trips(job_requests());
  expect_round_trips(job_events());
  expect_round_trips(zygote_requests());
  expect_round_trips(zygote_events());
}

TEST(SpawnProtocol, SurvivesDamageOfEveryKind) {
  expect_survives_damage(owner_messages());
  expect_survives_damage(spawner_messages());
  expect_survives_damage(job_requests());
  expect_survives_damage(job_events());
  expect_survives_damage(zygote_requests());
  expect_survives_damage(zygote_events());
}

// Who attaches to a spawner of another version must understand this much of it.
TEST(SpawnProtocol, HelloNeverChanges) {
  std::string hello = encode(SpawnerMessage(Hello{.version = 0x01020304, .pid = 0x05060708, .cgroup = "g"}));
  EXPECT_EQ(hello, std::string("\x0d\0\0\0\0\x04\x03\x02\x01\x08\x07\x06\x05\x01\0\0\0g", 18));
}

TEST(SpawnProtocol, RoundTripsEveryField) {
  MessageReader<OwnerMessage> reader;
  std::string frame = encode(a_launch());
  for (char byte : frame) {  // byte by byte: a message appears with its last one
    EXPECT_FALSE(reader.next()->has_value());
    reader.append({&byte, 1});
  }
  auto message = reader.next();
  ASSERT_TRUE(message && *message);
  const auto& launch = std::get<Launch>(**message);
  ASSERT_EQ(launch.programs.size(), 3u);
  EXPECT_EQ(launch.programs[0].arguments, (std::vector<std::string>{"cat", ""}));
  EXPECT_EQ(launch.programs[0].output, Stream::neighbour);
  EXPECT_TRUE(launch.programs[1].guarded_input);
  EXPECT_EQ(launch.programs[1].script_shell, "/bin/sh");
  EXPECT_TRUE(launch.programs[2].by_job);
  EXPECT_EQ(launch.programs[2].variables, std::vector<std::string>{"A=1"});
  EXPECT_EQ(launch.environment[1].size(), 4u);
  EXPECT_EQ(launch.process_group, 17);
  ASSERT_TRUE(launch.run_as && launch.keep);
  EXPECT_EQ(launch.run_as->uid, 1000u);
  EXPECT_EQ(launch.run_as->groups, (std::vector<std::uint32_t>{100, 27}));
  EXPECT_EQ(launch.keep->directory, "/var/lib/sluice/flows/1/2");
  EXPECT_EQ(launch.keep->output_bytes_max, 77u);
  EXPECT_FALSE(launch.keep->survives_owner);
  EXPECT_EQ(encode(**message), frame);
  EXPECT_FALSE(reader.next()->has_value());
}

TEST(SpawnProtocol, ReadsSeveralMessagesFromOneRead) {
  MessageReader<SpawnerMessage> reader;
  Exited exited{.program = 3, .wait_status = 256, .output_reader = Reader::gone, .user_us = 7};
  reader.append(encode(SpawnerMessage(exited)) + encode(SpawnerMessage(Childless{})));
  EXPECT_EQ(std::get<Exited>(**reader.next()).output_reader, Reader::gone);
  EXPECT_TRUE(std::holds_alternative<Childless>(**reader.next()));
}

TEST(SpawnProtocol, RefusesDamagedFrames) {
  std::string frame = encode(a_launch());
  std::string unknown_kind = frame, trailing = frame, huge = frame;
  unknown_kind[4] = 99;
  trailing[0] = static_cast<char>(trailing[0] + 1);
  trailing += 'x';
  huge[3] = '\x7f';
  for (const std::string& damaged : {unknown_kind, trailing, huge}) {
    MessageReader<OwnerMessage> reader;
    reader.append(damaged);
    EXPECT_FALSE(reader.next().has_value());
  }
}

TEST(SpawnProtocol, NeverReadsPastAnInnerLength) {
  std::string frame = encode(a_launch());
  for (std::size_t i = 5; i < frame.size(); ++i) {
    std::string damaged = frame;
    damaged[i] = '\xff';
    MessageReader<OwnerMessage> reader;
    reader.append(damaged);
    (void)reader.next();  // a value or an error; the sanitizers watch
  }
}

}  // namespace
}  // namespace sluice::exec
