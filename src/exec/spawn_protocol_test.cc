#include "exec/spawn_protocol.h"

#include <gtest/gtest.h>

namespace sluice::exec {
namespace {

OwnerMessage a_launch() {
  Launch launch;
  launch.programs = {{.path = "/bin/cat", .arguments = {"cat", ""}, .output = Stream::neighbour},
                     {.path = "/bin/sh", .arguments = {"sh"}, .script_shell = "/bin/sh", .guarded_input = true}};
  launch.environment = {"A=1", std::string("B=\xff\n", 4)};
  launch.directory = "/tmp";
  launch.process_group = 17;
  launch.account_io = true;
  return launch;
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
  ASSERT_EQ(launch.programs.size(), 2u);
  EXPECT_EQ(launch.programs[0].arguments, (std::vector<std::string>{"cat", ""}));
  EXPECT_EQ(launch.programs[0].output, Stream::neighbour);
  EXPECT_TRUE(launch.programs[1].guarded_input);
  EXPECT_EQ(launch.programs[1].script_shell, "/bin/sh");
  EXPECT_EQ(launch.environment[1].size(), 4u);
  EXPECT_EQ(launch.process_group, 17);
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
