#include "link/splice_relay.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace sluice::link {
namespace {

using State = SpliceRelay::State;

struct Pipe {
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) std::abort();
    read_end.reset(ends[0]);
    write_end.reset(ends[1]);
  }
  UniqueFd read_end, write_end;
};

struct Relayed {
  Relayed() : relay(std::move(in.read_end), std::move(out.write_end)) {}
  Pipe in, out;
  SpliceRelay relay;

  std::string read_all() {
    char buffer[65536];
    ssize_t got = ::read(out.read_end.get(), buffer, sizeof buffer);
    return got > 0 ? std::string(buffer, static_cast<std::size_t>(got)) : std::string();
  }
};

TEST(SpliceRelay, MovesAndCounts) {
  Relayed pair;
  ASSERT_EQ(::write(pair.in.write_end.get(), "hello", 5), 5);
  EXPECT_EQ(pair.relay.move(), State::moving);
  EXPECT_EQ(pair.read_all(), "hello");
  EXPECT_EQ(pair.relay.moved().value, 5u);
  EXPECT_GE(pair.relay.waits()->input.fd, 0) << "it waits for input now";
}

TEST(SpliceRelay, PassesTheEndDown) {
  Relayed pair;
  ASSERT_EQ(::write(pair.in.write_end.get(), "last", 4), 4);
  pair.in.write_end.reset();
  EXPECT_EQ(pair.relay.move(), State::input_ended);
  EXPECT_EQ(pair.read_all(), "last");
  char byte;
  EXPECT_EQ(::read(pair.out.read_end.get(), &byte, 1), 0);
  EXPECT_FALSE(pair.relay.waits().has_value());
}

TEST(SpliceRelay, PassesAReadersEndUp) {
  ::signal(SIGPIPE, SIG_IGN);
  Relayed pair;
  pair.out.read_end.reset();
  EXPECT_EQ(pair.relay.move(), State::reader_gone) << "also while no byte is on the way";
  EXPECT_EQ(::write(pair.in.write_end.get(), "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST(SpliceRelay, WaitsForRoom) {
  Relayed pair;
  std::string block(65536, 'x');
  while (::write(pair.in.write_end.get(), block.data(), block.size()) > 0) pair.relay.move();
  ASSERT_TRUE(pair.relay.waits().has_value());
  EXPECT_LT(pair.relay.waits()->input.fd, 0);
  EXPECT_EQ(pair.relay.waits()->output.events, POLLOUT);
}

}  // namespace
}  // namespace sluice::link
