#include "link/byte_stream.h"

#include <gmock/gmock.h>

namespace sluice::link {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string framed(std::string_view text) {
  auto header = data_header(text.size());
  return std::string(reinterpret_cast<const char*>(header.data()), header.size()) + std::string(text);
}

// Sends `text` in one frame and returns the bytes.
std::string say(ByteProducer& producer, std::string_view text) {
  producer.on_data(bytes_of(text));
  return framed(text);
}

// What the consumer makes of `bytes` up to its last word, data left out; the error as a text.
using Heard = std::variant<std::monostate, ByteEnd, ByteAbort, std::string>;
Heard hear(ByteConsumer& consumer, std::string_view text) {
  auto bytes = bytes_of(text);
  while (true) {
    auto step = consumer.next(bytes);
    if (!step) return step.error();
    if (!*step) return std::monostate();
    if (auto* end = std::get_if<ByteEnd>(&**step)) return *end;
    if (auto* abort = std::get_if<ByteAbort>(&**step)) return *abort;
  }
}

std::string error_of(const Heard& heard) {
  const auto* error = std::get_if<std::string>(&heard);
  return error != nullptr ? *error : "";
}

TEST(ByteStream, BothSidesAgreeOnTheEnd) {
  ByteProducer producer;
  ByteConsumer consumer;
  std::string bytes = say(producer, "hello ");
  bytes += say(producer, "world");
  bytes += producer.poll_end();
  Heard heard = hear(consumer, bytes);
  ASSERT_TRUE(std::holds_alternative<ByteEnd>(heard)) << error_of(heard);
  EXPECT_TRUE(std::get<ByteEnd>(heard).checksum.has_value());
  auto answer = producer.on_bytes(bytes_of(consumer.poll_done()));
  ASSERT_TRUE(answer && *answer);
  EXPECT_EQ(std::get<ByteDone>(**answer).length, 11u);
}

TEST(ByteStream, AnEmptyStreamHasAnEndToo) {
  ByteProducer producer;
  ByteConsumer consumer;
  EXPECT_TRUE(std::holds_alternative<ByteEnd>(hear(consumer, producer.poll_end())));
}

TEST(ByteStream, AWrongLengthIsNoEnd) {
  ByteConsumer consumer;
  Heard heard = hear(consumer, framed("abc") + encode(ByteEnd{.length = 4, .checksum = {}}));
  EXPECT_THAT(error_of(heard), testing::HasSubstr("after 4 bytes, but 3 came"));
}

TEST(ByteStream, AWrongChecksumIsNoEnd) {
  ByteConsumer consumer;
  Heard heard = hear(consumer, framed("abc") + encode(ByteEnd{.length = 3, .checksum = 1}));
  EXPECT_THAT(error_of(heard), testing::HasSubstr("checksum of 3 bytes"));
}

TEST(ByteStream, AnyChangedByteOfTheStreamIsFound) {
  std::string text = "the bytes of a stream";
  ByteProducer producer;
  std::string whole = say(producer, text);
  whole += producer.poll_end();
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string bytes = whole;
    bytes[kByteHeaderSize + at] = static_cast<char>(bytes[kByteHeaderSize + at] ^ 1);
    ByteConsumer consumer;
    EXPECT_NE(error_of(hear(consumer, bytes)), "") << at;
  }
}

TEST(ByteStream, UnseenDataLeavesTheLength) {
  ByteProducer producer;
  ByteConsumer consumer;
  producer.on_unseen_data(5);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(hear(consumer, framed("12345").substr(0, kByteHeaderSize))));
  EXPECT_EQ(consumer.payload_left(), 5u);
  consumer.on_unseen_data(5);
  Heard heard = hear(consumer, producer.poll_end());
  ASSERT_TRUE(std::holds_alternative<ByteEnd>(heard)) << error_of(heard);
  EXPECT_FALSE(std::get<ByteEnd>(heard).checksum.has_value());
}

TEST(ByteStream, AConsumerThatHasNotSeenAllBelievesTheLengthAlone) {
  ByteProducer producer;
  ByteConsumer consumer;
  std::string bytes = say(producer, "12345");
  hear(consumer, bytes.substr(0, kByteHeaderSize));
  consumer.on_unseen_data(5);
  EXPECT_TRUE(std::holds_alternative<ByteEnd>(hear(consumer, producer.poll_end())));
}

TEST(ByteStream, AnAbortIsNoEnd) {
  ByteProducer producer;
  ByteConsumer consumer;
  hear(consumer, say(producer, "half"));
  Heard heard = hear(consumer, producer.poll_abort("the stage failed"));
  ASSERT_TRUE(std::holds_alternative<ByteAbort>(heard));
  EXPECT_EQ(std::get<ByteAbort>(heard).reason, "the stage failed");
}

TEST(ByteStream, TheProducerHearsEachWord) {
  ByteProducer producer;
  auto closed = producer.on_bytes(bytes_of(encode(ByteClose{})));
  ASSERT_TRUE(closed && *closed);
  EXPECT_TRUE(std::holds_alternative<ByteClose>(**closed));

  ByteProducer other;
  auto aborted = other.on_bytes(bytes_of(encode(ByteAbort{"disk full"})));
  ASSERT_TRUE(aborted && *aborted);
  EXPECT_EQ(std::get<ByteAbort>(**aborted).reason, "disk full");
}

TEST(ByteStream, AConfirmationMustFit) {
  ByteProducer early;
  EXPECT_FALSE(early.on_bytes(bytes_of(encode(ByteDone{.length = 0})))) << "nothing was ended";
  ByteProducer producer;
  say(producer, "abc");
  producer.poll_end();
  EXPECT_FALSE(producer.on_bytes(bytes_of(encode(ByteDone{.length = 2}))));
  ByteProducer aborted;
  aborted.poll_abort("");
  EXPECT_FALSE(aborted.on_bytes(bytes_of(encode(ByteDone{.length = 0}))));
}

}  // namespace
}  // namespace sluice::link
