// The two ends of a call's messages, and the credit between them.
#include <gmock/gmock.h>

#include "base/random.h"
#include "rpc/incoming_messages.h"
#include "rpc/outgoing_messages.h"

namespace sluice::rpc {
namespace {

using testing::Optional;

constexpr std::size_t kSmallWindow = 1000;

std::vector<Frame> frames_of(const std::string& bytes, FrameReader& reader) {
  std::vector<Frame> frames;
  reader.append(bytes);
  while (auto frame = reader.next().value()) frames.push_back(*frame);
  return frames;
}

std::string drained(OutgoingMessages& outgoing) {
  std::string bytes;
  while (outgoing.ready()) outgoing.poll_frame(bytes, StreamId{1});
  return bytes;
}

TEST(OutgoingMessages, SendsNoMoreThanItsCredit) {
  OutgoingMessages outgoing(kSmallWindow);
  outgoing.add(std::string(3000, 'x'));
  FrameReader reader;
  std::string bytes = drained(outgoing);
  auto frames = frames_of(bytes, reader);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_TRUE(frames[0].has(frame_flag::more));
  EXPECT_EQ(frames[0].payload.size(), kSmallWindow - kMessageCost);
  EXPECT_EQ(outgoing.credit(), 0u);
  ASSERT_TRUE(outgoing.grant(5000));
  EXPECT_EQ(drained(outgoing).size(), kFrameHeaderSize + 3000 - (kSmallWindow - kMessageCost));
  EXPECT_TRUE(outgoing.empty());
  EXPECT_EQ(outgoing.queued(), 0u);
}

TEST(OutgoingMessages, ASmallMessageWaitsForItsCost) {
  OutgoingMessages outgoing(2 * kMessageCost);
  outgoing.add("");
  outgoing.add("");
  outgoing.add("");
  EXPECT_EQ(drained(outgoing).size(), 2 * kFrameHeaderSize);
  EXPECT_TRUE(outgoing.grant(kMessageCost - 1));
  EXPECT_FALSE(outgoing.ready());
  EXPECT_TRUE(outgoing.grant(1));
  EXPECT_TRUE(outgoing.ready());
}

TEST(OutgoingMessages, TheEndRidesOnTheLastMessageOrComesAlone) {
  OutgoingMessages outgoing(kSmallWindow);
  outgoing.add("a");
  outgoing.add("b");
  outgoing.finish();
  FrameReader reader;
  std::string bytes = drained(outgoing);
  auto frames = frames_of(bytes, reader);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_FALSE(frames[0].has(frame_flag::last));
  EXPECT_TRUE(frames[1].has(frame_flag::last));

  OutgoingMessages nothing(kSmallWindow);
  nothing.finish();
  bytes = drained(nothing);
  EXPECT_EQ(frames_of(bytes, reader).at(0).type, FrameType::done);
}

TEST(OutgoingMessages, RefusesCreditBeyondReason) {
  OutgoingMessages outgoing(kSmallWindow);
  EXPECT_TRUE(outgoing.grant(kCreditMax - kSmallWindow));
  EXPECT_FALSE(outgoing.grant(1));
  EXPECT_EQ(outgoing.credit(), kCreditMax);
}

TEST(IncomingMessages, RefusesWhatWasNotGranted) {
  IncomingMessages incoming(kSmallWindow);
  EXPECT_TRUE(incoming.on_piece(std::string(kSmallWindow - kMessageCost, 'x'), true).has_value());
  EXPECT_FALSE(incoming.on_piece("y", true).has_value());
}

TEST(IncomingMessages, RefusesAMessageThatIsTooLarge) {
  IncomingMessages incoming(2 * kMessageMax);
  EXPECT_TRUE(incoming.on_piece(std::string(kMessageMax, 'x'), true).has_value());
  EXPECT_FALSE(incoming.on_piece("y", false).has_value());
}

TEST(IncomingMessages, GrantsACompleteMessageWhenItIsTaken) {
  IncomingMessages incoming(kSmallWindow);
  EXPECT_THAT(incoming.on_piece(std::string(600, 'x'), false).value(), true);
  EXPECT_EQ(incoming.poll_grant(), std::nullopt);
  EXPECT_EQ(incoming.held(), 600 + kMessageCost);
  EXPECT_THAT(incoming.take(), Optional(std::string(600, 'x')));
  EXPECT_THAT(incoming.poll_grant(), Optional(600 + kMessageCost));
  EXPECT_EQ(incoming.held(), 0u);
}

TEST(IncomingMessages, GrantsAMessageThatIsPutTogetherAsItArrivesButOnlyOnce) {
  IncomingMessages incoming(kSmallWindow);
  ASSERT_TRUE(incoming.on_piece(std::string(900, 'x'), true).has_value());
  EXPECT_THAT(incoming.poll_grant(), Optional(900 + kMessageCost));
  ASSERT_TRUE(incoming.on_piece(std::string(900, 'x'), false).has_value());
  EXPECT_EQ(incoming.poll_grant(), std::nullopt);  // complete: the reader must take it first
  incoming.take();
  EXPECT_THAT(incoming.poll_grant(), Optional(900));
}

// Whatever the sizes, a sender that is granted what the receiver says is never stuck, and a reader that stops never holds
// more than the header of IncomingMessages says.
TEST(MessageFlow, RandomMessagesArriveWithinTheBound) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    std::size_t window = 2 * kMessageCost + random.below(5000);
    OutgoingMessages outgoing(window);
    IncomingMessages incoming(window);
    std::vector<std::size_t> sizes;
    for (int i = 0; i < 200; ++i) sizes.push_back(random.below(1 + random.below(20000)));
    for (std::size_t size : sizes) outgoing.add(std::string(size, 'x'));
    std::size_t taken = 0;
    while (taken < sizes.size()) {
      std::string bytes;
      if (outgoing.ready()) outgoing.poll_frame(bytes, StreamId{1});
      FrameReader reader;
      for (const Frame& frame : frames_of(bytes, reader))
        ASSERT_TRUE(incoming.on_piece(frame.payload, frame.has(frame_flag::more)).has_value());
      ASSERT_LE(incoming.held(), kMessageMax + kMessageCost + window);
      ASSERT_TRUE(outgoing.grant(incoming.poll_grant().value_or(0)));
      bool stuck = !outgoing.ready();  // unless the reader goes on
      if (!stuck && random.below(3) != 0) continue;
      auto message = incoming.take();
      ASSERT_TRUE(message.has_value() || !stuck);
      if (!message) continue;
      ASSERT_EQ(message->size(), sizes[taken++]);
      ASSERT_TRUE(outgoing.grant(incoming.poll_grant().value_or(0)));
    }
  }
}

}  // namespace
}  // namespace sluice::rpc
