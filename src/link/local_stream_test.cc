#include "link/local_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <string>

#include "link/link_world_for_test.h"

namespace sluice::link {
namespace {

using Status = LocalStream::Status;
using Direction = LocalStream::Direction;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

LocalStream open_from(UniqueFd descriptor, bool alone) {
  auto stream = LocalStream::open(std::move(descriptor), Direction::from, alone);
  EXPECT_TRUE(stream.has_value());
  return *std::move(stream);
}
LocalStream open_into(UniqueFd descriptor, bool alone) {
  auto stream = LocalStream::open(std::move(descriptor), Direction::into, alone);
  EXPECT_TRUE(stream.has_value());
  return *std::move(stream);
}

UniqueFd another(const UniqueFd& descriptor) { return UniqueFd(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, 0)); }
bool blocks(const UniqueFd& descriptor) { return (::fcntl(descriptor.get(), F_GETFL) & O_NONBLOCK) == 0; }

struct Terminal {
  Terminal() {
    int ends[2];
    EXPECT_EQ(::openpty(&ends[0], &ends[1], nullptr, nullptr, nullptr), 0);
    master.reset(ends[0]);
    slave.reset(ends[1]);
  }
  UniqueFd master, slave;
};

// Reading an empty descriptor, and filling it until it is full, must come back at once, and leave the flags of the others.
void expect_never_blocks(const UniqueFd& from, const UniqueFd& into, bool alone) {
  LocalStream reader = open_from(another(from), alone), writer = open_into(another(into), alone);
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(reader.read_some(buffer).status, Status::would_block);
  std::string block(100'000, 'x');
  LocalStream::Outcome last{.status = Status::moved};
  for (int i = 0; i < 10'000 && last.status == Status::moved; ++i) last = writer.write_some(bytes_of(block));
  EXPECT_EQ(last.status, Status::would_block);
  EXPECT_EQ(blocks(from), !alone);
  EXPECT_EQ(blocks(into), !alone);
}

TEST(LocalStream, APipeNeverBlocks) {
  for (bool alone : {false, true}) {
    PipeEnds pipe = make_pipe();
    expect_never_blocks(pipe.read_end, pipe.write_end, alone);
  }
}

TEST(LocalStream, ASocketNeverBlocks) {
  PipeEnds pair = make_socket_pair();
  expect_never_blocks(pair.read_end, pair.write_end, false);
}

TEST(LocalStream, ATerminalNeverBlocks) {
  Terminal terminal;
  LocalStream slave = open_from(another(terminal.slave), false);
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(slave.read_some(buffer).status, Status::would_block);
  EXPECT_FALSE(slave.shared()) << "it was opened again";
  EXPECT_TRUE(blocks(terminal.slave));
  LocalStream screen = open_into(another(terminal.slave), false);
  LocalStream::Outcome last{.status = Status::moved};
  for (int i = 0; i < 10'000 && last.status == Status::moved; ++i)
    last = screen.write_some(bytes_of("nobody reads this"));
  EXPECT_EQ(last.status, Status::would_block);
}

TEST(LocalStream, TheMasterOfATerminalIsNotOpenedAgain) {
  Terminal terminal;
  LocalStream master = open_from(another(terminal.master), false);
  EXPECT_TRUE(master.shared());
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(master.read_some(buffer).status, Status::would_block);
  ASSERT_TRUE(write_all(terminal.slave.get(), "x"));
  EXPECT_EQ(master.read_some(buffer).bytes, 1u);
}

TEST(LocalStream, ATerminalsEndIsItsEndOfFileCharacter) {
  Terminal terminal;
  LocalStream slave = open_from(another(terminal.slave), false);
  ASSERT_TRUE(write_all(terminal.master.get(), "line\n\x04"));
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(slave.read_some(buffer).bytes, 5u);
  EXPECT_EQ(slave.read_some(buffer).status, Status::ended);
}

// What may not be opened again, such as another user's pipe, is asked with poll(2) before it is touched.
TEST(LocalStream, APipeThatCannotBeOpenedAgainNeverBlocks) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs a pipe of another user";
  pid_t child = ::fork();
  if (child == 0) {
    PipeEnds pipe = make_pipe();
    ::fchmod(pipe.read_end.get(), 0);
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(9);
    expect_never_blocks(pipe.read_end, pipe.write_end, false);
    auto writer = LocalStream::open(another(pipe.write_end), Direction::into, false);
    ::_exit(testing::Test::HasFailure() || !writer || !writer->shared() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(LocalStream, AReaderThatIsGoneIsAnAnswer) {
  ::signal(SIGPIPE, SIG_IGN);
  PipeEnds pipe = make_pipe();
  LocalStream writer = open_into(another(pipe.write_end), false);
  EXPECT_FALSE(writer.reader_gone());
  pipe.read_end.reset();
  EXPECT_TRUE(writer.reader_gone());
  EXPECT_EQ(writer.write_some(bytes_of("x")).status, Status::reader_gone);
  EXPECT_TRUE(open_into(another(pipe.write_end), false).reader_gone());
}

TEST(LocalStream, ANamedPipeWithoutAReaderCannotBeOpened) {
  char folder[] = "/tmp/local_stream_test.XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  std::string path = std::string(folder) + "/fifo";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  UniqueFd both(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  UniqueFd write_end(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  both.reset();
  auto late = LocalStream::open(std::move(write_end), Direction::into, false);
  ::unlink(path.c_str());
  ::rmdir(folder);
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error(), EPIPE);
}

TEST(LocalStream, ASocketsReaderThatIsGoneIsAnAnswer) {
  PipeEnds pair = make_socket_pair();
  LocalStream writer = open_into(std::move(pair.write_end), true);
  EXPECT_FALSE(writer.reader_gone());
  pair.read_end.reset();
  EXPECT_TRUE(writer.reader_gone());
  EXPECT_EQ(writer.write_some(bytes_of("x")).status, Status::reader_gone);
}

TEST(LocalStream, AFileIsReadFromWhereItsOwnerStands) {
  char path[] = "/tmp/local_stream_test.XXXXXX";
  UniqueFd file(::mkostemp(path, O_CLOEXEC));
  ::unlink(path);
  ASSERT_TRUE(write_all(file.get(), "skipped rest"));
  ASSERT_EQ(::lseek(file.get(), 8, SEEK_SET), 8);
  LocalStream reader = open_from(another(file), false);
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(reader.read_some(buffer).bytes, 4u);
  EXPECT_EQ(reader.read_some(buffer).status, Status::ended);
  EXPECT_EQ(::lseek(file.get(), 0, SEEK_CUR), 12) << "and leaves him behind what was read";
  EXPECT_FALSE(reader.reader_gone());
}

TEST(LocalStream, DevicesAreUsedAsTheyAre) {
  LocalStream zero = open_from(UniqueFd(::open("/dev/zero", O_RDONLY | O_CLOEXEC)), false);
  std::array<std::byte, 16> buffer;
  EXPECT_EQ(zero.read_some(buffer).bytes, 16u);
  LocalStream null = open_into(UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)), false);
  EXPECT_EQ(null.write_some(buffer).status, Status::moved);
  EXPECT_FALSE(null.reader_gone());
  LocalStream full = open_into(UniqueFd(::open("/dev/full", O_WRONLY | O_CLOEXEC)), false);
  auto failed = full.write_some(buffer);
  EXPECT_EQ(failed.status, Status::failed);
  EXPECT_EQ(failed.error, ENOSPC);
}

TEST(LocalStream, SplicesBetweenPipes) {
  PipeEnds from = make_pipe(), between = make_pipe();
  LocalStream reader = open_from(another(from.read_end), false);
  EXPECT_EQ(reader.splice_to(between.write_end.get(), 100).status, Status::would_block);
  ASSERT_TRUE(write_all(from.write_end.get(), "hello"));
  EXPECT_EQ(reader.splice_to(between.write_end.get(), 100).bytes, 5u);
  PipeEnds into = make_pipe();
  LocalStream writer = open_into(another(into.write_end), false);
  EXPECT_EQ(writer.splice_from(between.read_end.get(), 5).bytes, 5u);
  EXPECT_EQ(read_all(into.read_end.get(), 5), "hello");
  from.write_end.reset();
  EXPECT_EQ(reader.splice_to(between.write_end.get(), 100).status, Status::ended);
}

// In a process of its own, the leader of a session whose terminal has a line to read.
int read_in_background(const Terminal& terminal) {
  ::setsid();
  if (::ioctl(terminal.slave.get(), TIOCSCTTY, 0) != 0) return 2;
  write_all(terminal.master.get(), "line\n");
  pid_t child = ::fork();
  if (child == 0) {
    ::setpgid(0, 0);
    ::signal(SIGTTOU, SIG_IGN);
    LocalStream reader = open_from(another(terminal.slave), false);
    std::array<std::byte, 16> buffer;
    if (reader.read_some(buffer).status != Status::in_background) ::_exit(3);
    if (::tcsetpgrp(terminal.slave.get(), ::getpgrp()) != 0) ::_exit(4);
    ::_exit(reader.read_some(buffer).bytes == 5 ? 0 : 5);
  }
  int status = 0;
  if (::waitpid(child, &status, WUNTRACED) != child) return 6;
  if (WIFSTOPPED(status)) ::kill(child, SIGKILL);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 7;
}

TEST(LocalStream, ATerminalIsNotReadInTheBackground) {
  Terminal terminal;
  pid_t child = ::fork();
  if (child == 0) ::_exit(read_in_background(terminal));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "7: it was stopped by SIGTTIN";
}

}  // namespace
}  // namespace sluice::link
