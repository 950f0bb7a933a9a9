#include "net/peer_signs.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <string>
#include <utility>

#include "base/require.h"
#include "net/listening_socket.h"

namespace sluice::net {
namespace {

using std::chrono::seconds;

// Looks every 3 s; gives the second at which the peer is taken for gone, 0 if never.
int gone_after(SilenceJudge& judge, const std::function<PeerSigns(int)>& signs, int until) {
  for (int second = 3; second <= until; second += 3)
    if (judge.on_look(signs(second), TimePoint() + seconds(second))) return second;
  return 0;
}

TEST(SilenceJudge, NoSegmentFor12SecondsIsTooLong) {
  SilenceJudge judge;
  EXPECT_EQ(gone_after(
                judge,
                [](int) {
                  return PeerSigns{true, 7};
                },
                100),
            15);
}

TEST(SilenceJudge, AnySegmentIsASignOfLife) {
  SilenceJudge judge;
  auto keepalive = [](int second) { return PeerSigns{true, static_cast<std::uint32_t>(second / 5)}; };
  EXPECT_EQ(gone_after(judge, keepalive, 100'000), 0) << "a stopped reader's kernel, for a day";
}

TEST(SilenceJudge, WithNothingOutstandingNothingIsExpected) {
  SilenceJudge judge;
  EXPECT_EQ(gone_after(
                judge,
                [](int) {
                  return PeerSigns{false, 7};
                },
                1000),
            0);
  EXPECT_EQ(gone_after(
                judge,
                [](int second) {
                  return PeerSigns{second % 6 == 0, 7};
                },
                1000),
            0);
}

TEST(SilenceJudge, SilenceCountsFromTheLastSign) {
  SilenceJudge judge;
  EXPECT_EQ(gone_after(
                judge,
                [](int second) {
                  return PeerSigns{true, second < 30 ? second : 30u};
                },
                100),
            42);
}

TEST(SilenceJudge, SilenceCountsFromBeforeTheFirstBytes) {
  SilenceJudge judge;
  auto sent_after_14_seconds = [](int second) { return PeerSigns{true, 7, seconds(14 + second)}; };
  EXPECT_EQ(gone_after(judge, sent_after_14_seconds, 100), 3);
}

// Both ends of a connection over loopback.
struct Ends {
  UniqueFd one;
  UniqueFd other;
};

Ends connect_tcp() {
  auto listening = listen_tcp({.address = "127.0.0.1"});
  REQUIRE(listening);
  sockaddr_storage to{};
  socklen_t size = sizeof to;
  REQUIRE(::getsockname(listening->get(), reinterpret_cast<sockaddr*>(&to), &size) == 0);
  UniqueFd one(::socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE(::connect(one.get(), reinterpret_cast<sockaddr*>(&to), size) == 0);
  pollfd ready{.fd = listening->get(), .events = POLLIN, .revents = 0};
  REQUIRE(::poll(&ready, 1, 60'000) == 1);
  return {std::move(one), UniqueFd(::accept4(listening->get(), nullptr, nullptr, SOCK_CLOEXEC))};
}

TEST(PeerSigns, SeeWhatTheOtherSideHasNotTaken) {
  Ends ends = connect_tcp();
  int socket = ends.one.get();
  ASSERT_TRUE(is_tcp(socket));
  EXPECT_FALSE(peer_signs(socket)->outstanding);
  std::string block(65536, 'x');
  auto fill = [&] {
    std::size_t sent = 0;
    for (ssize_t size = 0; (size = ::send(socket, block.data(), block.size(), MSG_DONTWAIT)) > 0;)
      sent += static_cast<std::size_t>(size);
    return sent;
  };
  std::size_t sent = fill();
  EXPECT_TRUE(peer_signs(socket)->outstanding);
  std::uint32_t before = peer_signs(socket)->segments_received;
  for (std::size_t got = 0; got < sent / 2;) {
    ssize_t size = ::recv(ends.other.get(), block.data(), block.size(), 0);
    ASSERT_GT(size, 0);
    got += static_cast<std::size_t>(size);
  }
  pollfd room{.fd = socket, .events = POLLOUT, .revents = 0};
  ASSERT_EQ(::poll(&room, 1, 60'000), 1);
  fill();
  ASSERT_TRUE(peer_signs(socket)->outstanding);
  EXPECT_GT(peer_signs(socket)->segments_received, before);
}

TEST(PeerSigns, ALocalSocketNeedsNoWatching) {
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  UniqueFd one(pair[0]), other(pair[1]);
  EXPECT_FALSE(is_tcp(one.get()));
}

}  // namespace
}  // namespace sluice::net
