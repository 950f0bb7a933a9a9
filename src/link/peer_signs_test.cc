#include "link/peer_signs.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>

#include "link/link_world_for_test.h"

namespace sluice::link {
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

TEST(PeerSigns, SeeWhatTheOtherSideHasNotTaken) {
  Wired wired = connect(Wire::tcp);
  int socket = wired.one.socket.get();
  ASSERT_TRUE(set_up_peer_signs(socket));
  EXPECT_FALSE(peer_signs(socket)->outstanding);
  std::string block(65536, 'x');
  while (::send(socket, block.data(), block.size(), MSG_DONTWAIT) > 0) {
  }
  EXPECT_TRUE(peer_signs(socket)->outstanding);
  std::uint32_t before = peer_signs(socket)->segments_received;
  EXPECT_FALSE(read_all(wired.other.socket.get(), 2'000'000).empty());
  EXPECT_TRUE(happens(socket, POLLOUT));
  EXPECT_GT(peer_signs(socket)->segments_received, before);
}

TEST(PeerSigns, ALocalSocketNeedsNoWatching) {
  Wired wired = connect(Wire::local);
  EXPECT_FALSE(set_up_peer_signs(wired.one.socket.get()));
}

}  // namespace
}  // namespace sluice::link
