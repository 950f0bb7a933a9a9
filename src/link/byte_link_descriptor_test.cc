// Byte links between descriptors of every kind.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <termios.h>

#include <future>

#include "link/byte_link.h"
#include "link/link_world_for_test.h"

namespace sluice::link {
namespace {

using Kind = LinkEnd::Kind;

class ByteLinkBetween : public testing::TestWithParam<Wire> {
 protected:
  ByteLink source(UniqueFd from, bool ours = false) {
    return start_source(loops, std::move(from), std::move(wired.one), owner.options(ours), owner.report_to(source_end));
  }
  ByteLink sink(UniqueFd into, bool ours = false) {
    return start_sink(loops, std::move(wired.other), std::move(into), owner.options(ours), owner.report_to(sink_end));
  }
  void expect_both(Kind kind) {
    owner.run_until([&] { return source_end && sink_end; });
    EXPECT_EQ(source_end->kind, kind) << source_end->message;
    EXPECT_EQ(sink_end->kind, kind) << sink_end->message;
  }

  Owner owner;
  DataLoops loops;
  Wired wired = connect(GetParam());
  std::optional<LinkEnd> source_end, sink_end;
};

INSTANTIATE_TEST_SUITE_P(Wires, ByteLinkBetween, testing::Values(Wire::tcp, Wire::local, Wire::tls),
                         [](const auto& param) { return to_text(param.param); });

UniqueFd temporary_file() {
  char path[] = "/tmp/byte_link_test.XXXXXX";
  UniqueFd file(::mkostemp(path, O_CLOEXEC));
  ::unlink(path);
  return file;
}
UniqueFd another(const UniqueFd& descriptor) { return UniqueFd(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, 0)); }

TEST_P(ByteLinkBetween, AFileAndAFile) {
  UniqueFd from = temporary_file(), into = temporary_file();
  std::string text = random_text(3'000'000, 9);
  ASSERT_TRUE(write_all(from.get(), text));
  ::lseek(from.get(), 0, SEEK_SET);
  auto a = source(another(from));
  auto b = sink(another(into));
  expect_both(Kind::ended);
  ::lseek(into.get(), 0, SEEK_SET);
  EXPECT_TRUE(read_all(into.get()) == text);
}

TEST_P(ByteLinkBetween, AFileAndAPipe) {
  UniqueFd from = temporary_file();
  std::string text = random_text(3'000'000, 9);
  ASSERT_TRUE(write_all(from.get(), text));
  ::lseek(from.get(), 0, SEEK_SET);
  PipeEnds pipe = make_pipe();
  auto a = source(another(from));
  auto b = sink(std::move(pipe.write_end), true);
  auto came = std::async(std::launch::async, [&] { return read_all(pipe.read_end.get()); });
  expect_both(Kind::ended);
  EXPECT_TRUE(came.get() == text);
}

TEST_P(ByteLinkBetween, APipeAndAFile) {
  UniqueFd into = temporary_file();
  std::string text = random_text(3'000'000, 9);
  PipeEnds pipe = make_pipe();
  auto a = source(std::move(pipe.read_end), true);
  auto b = sink(another(into));
  ASSERT_TRUE(write_all(pipe.write_end.get(), text));
  pipe.write_end.reset();
  expect_both(Kind::ended);
  ::lseek(into.get(), 0, SEEK_SET);
  EXPECT_TRUE(read_all(into.get()) == text);
}

TEST_P(ByteLinkBetween, AnEndlessDeviceAndAReaderThatCloses) {
  PipeEnds pipe = make_pipe();
  auto a = source(UniqueFd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)));
  auto b = sink(std::move(pipe.write_end), true);
  EXPECT_EQ(read_all(pipe.read_end.get(), 5'000'000), std::string(5'000'000, '\0'));
  pipe.read_end.reset();
  expect_both(Kind::reader_closed);
}

TEST_P(ByteLinkBetween, AnEmptyDeviceAndOneThatTakesAll) {
  auto a = source(UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
  auto b = sink(UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)));
  expect_both(Kind::ended);
}

TEST_P(ByteLinkBetween, Sockets) {
  PipeEnds up = make_socket_pair(), down = make_socket_pair();
  auto a = source(std::move(up.read_end));
  auto b = sink(std::move(down.write_end));
  std::string text = random_text(2'000'000, 4);
  auto came = std::async(std::launch::async, [&] { return read_all(down.read_end.get()); });
  ASSERT_TRUE(write_all(up.write_end.get(), text));
  up.write_end.reset();
  expect_both(Kind::ended);
  EXPECT_TRUE(came.get() == text);
}

TEST_P(ByteLinkBetween, ASocketWhoseReaderCloses) {
  PipeEnds up = make_socket_pair(), down = make_socket_pair();
  auto a = source(std::move(up.read_end));
  auto b = sink(std::move(down.write_end));
  down.read_end.reset();
  expect_both(Kind::reader_closed);
}

TEST_P(ByteLinkBetween, SharedPipes) {
  PipeEnds up = make_pipe(), down = make_pipe();
  auto a = source(another(up.read_end));
  auto b = sink(another(down.write_end));
  std::string text = random_text(2'000'000, 4);
  auto came = std::async(std::launch::async, [&] { return read_all(down.read_end.get(), text.size()); });
  ASSERT_TRUE(write_all(up.write_end.get(), text));
  up.write_end.reset();
  expect_both(Kind::ended);
  EXPECT_TRUE(came.get() == text);
  EXPECT_EQ(::fcntl(up.read_end.get(), F_GETFL) & O_NONBLOCK, 0) << "the shell's own view of it is as it was";
  EXPECT_EQ(::fcntl(down.write_end.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_P(ByteLinkBetween, ATerminalAndATerminal) {
  int keyboard[2], screen[2];
  ASSERT_EQ(::openpty(&keyboard[0], &keyboard[1], nullptr, nullptr, nullptr), 0);
  ASSERT_EQ(::openpty(&screen[0], &screen[1], nullptr, nullptr, nullptr), 0);
  UniqueFd keyboard_master(keyboard[0]), screen_master(screen[0]), keyboard_slave(keyboard[1]), screen_slave(screen[1]);
  auto a = source(another(keyboard_slave));
  auto b = sink(another(screen_slave));
  ASSERT_TRUE(write_all(keyboard_master.get(), "hello\n"));
  EXPECT_EQ(read_all(screen_master.get(), 7), "hello\r\n");
  ASSERT_TRUE(write_all(keyboard_master.get(), "\x04"));
  expect_both(Kind::ended);
}

TEST_P(ByteLinkBetween, ATerminalThatHangsUpHasNoReader) {
  int screen[2];
  ASSERT_EQ(::openpty(&screen[0], &screen[1], nullptr, nullptr, nullptr), 0);
  UniqueFd master(screen[0]), slave(screen[1]);
  PipeEnds up = make_pipe();
  auto a = source(std::move(up.read_end), true);
  auto b = sink(std::move(slave));
  master.reset();
  expect_both(Kind::reader_closed);
}

}  // namespace
}  // namespace sluice::link
