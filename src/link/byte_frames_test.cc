#include "link/byte_frames.h"

#include <gmock/gmock.h>

#include <vector>

#include "base/random.h"

namespace sluice::link {
namespace {

using Sender = ByteFrameDecoder::Sender;
using Event = ByteFrameDecoder::Event;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string framed(std::string_view text) {
  auto header = data_header(text.size());
  return std::string(reinterpret_cast<const char*>(header.data()), header.size()) + std::string(text);
}

// What a decoder says of bytes that come in the given pieces; data is joined.
struct Heard {
  std::string stream;
  std::vector<Event> words;
  std::string error;
};

void listen(ByteFrameDecoder& decoder, std::span<const std::byte> bytes, Heard& heard) {
  while (heard.error.empty()) {
    auto event = decoder.next(bytes);
    if (!event) {
      heard.error = event.error();
    } else if (!*event) {
      EXPECT_TRUE(bytes.empty());
      return;
    } else if (auto* payload = std::get_if<ByteFrameDecoder::Payload>(&**event)) {
      EXPECT_FALSE(payload->bytes.empty());
      heard.stream.append(reinterpret_cast<const char*>(payload->bytes.data()), payload->bytes.size());
    } else {
      heard.words.push_back(**event);
    }
  }
}

Heard hear(Sender sender, std::string_view bytes, std::size_t split = std::string::npos) {
  ByteFrameDecoder decoder(sender);
  Heard heard;
  listen(decoder, bytes_of(bytes.substr(0, split)), heard);
  if (split < bytes.size()) listen(decoder, bytes_of(bytes.substr(split)), heard);
  return heard;
}

std::string hex(std::string_view bytes) {
  std::string text;
  for (unsigned char c : bytes) text += "0123456789abcdef"[c >> 4], text += "0123456789abcdef"[c & 15];
  return text;
}

TEST(ByteFrames, AreTheBytesOfTheDocument) {
  EXPECT_EQ(hex(framed("abc")), "01000003616263");
  EXPECT_EQ(hex(encode(ByteEnd{.length = 3, .checksum = 0x1122334455667788})),
            "02000011"
            "0000000000000003"
            "01"
            "1122334455667788");
  EXPECT_EQ(hex(encode(ByteEnd{.length = 3, .checksum = {}})),
            "02000011"
            "0000000000000003"
            "00"
            "0000000000000000");
  EXPECT_EQ(hex(encode(ByteAbort{"no"})), "030000026e6f");
  EXPECT_EQ(hex(encode(ByteClose{})), "04000000");
  EXPECT_EQ(hex(encode(ByteDone{.length = 258})),
            "05000008"
            "0000000000000102");
}

TEST(ByteFrames, AProducersStreamIsReadBackWhereverItIsSplit) {
  ByteEnd end{.length = 6, .checksum = 7};
  std::string bytes = framed("abc") + framed("d") + framed("ef") + encode(end);
  for (std::size_t split = 0; split <= bytes.size(); ++split) {
    Heard heard = hear(Sender::producer, bytes, split);
    EXPECT_EQ(heard.error, "");
    EXPECT_EQ(heard.stream, "abcdef") << split;
    ASSERT_EQ(heard.words.size(), 1u) << split;
    EXPECT_EQ(std::get<ByteEnd>(heard.words[0]), end);
  }
}

TEST(ByteFrames, AConsumersWordIsReadBackWhereverItIsSplit) {
  const std::string words[] = {encode(ByteDone{.length = 5}), encode(ByteClose{}), encode(ByteAbort{"disk full"})};
  for (const std::string& bytes : words)
    for (std::size_t split = 0; split <= bytes.size(); ++split)
      EXPECT_EQ(hear(Sender::consumer, bytes, split).words.size(), 1u) << hex(bytes) << " at " << split;
  EXPECT_EQ(std::get<ByteAbort>(hear(Sender::consumer, words[2]).words[0]).reason, "disk full");
}

TEST(ByteFrames, ATruncatedStreamHasNoEnd) {
  std::string bytes = framed("abc") + encode(ByteEnd{.length = 3, .checksum = 1});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    Heard heard = hear(Sender::producer, bytes.substr(0, size));
    EXPECT_EQ(heard.error, "") << "it may go on";
    EXPECT_THAT(heard.words, testing::IsEmpty()) << size;
  }
}

TEST(ByteFrames, LimitsHoldOnBothSides) {
  EXPECT_EQ(hear(Sender::producer, std::string_view("\x01\x10\x00\x00", 4)).error, "") << "1 MiB";
  EXPECT_NE(hear(Sender::producer, std::string_view("\x01\x10\x00\x01", 4)).error, "") << "1 MiB and 1";
  EXPECT_NE(hear(Sender::producer, std::string_view("\x01\x00\x00\x00", 4)).error, "") << "data without a byte";
  EXPECT_NE(hear(Sender::producer, std::string_view("\x02\x00\x00\x10", 4)).error, "");
  EXPECT_NE(hear(Sender::producer, std::string_view("\x03\x00\x04\x01", 4)).error, "") << "a reason of 1,025 bytes";
  EXPECT_NE(hear(Sender::consumer, std::string_view("\x04\x00\x00\x01", 4)).error, "");
  EXPECT_EQ(encode(ByteAbort{std::string(5000, 'x')}).size(), kByteHeaderSize + kByteReasonMax);
}

TEST(ByteFrames, EachSideHasItsOwnWords) {
  EXPECT_NE(hear(Sender::consumer, framed("abc")).error, "");
  EXPECT_NE(hear(Sender::consumer, encode(ByteEnd{})).error, "");
  EXPECT_NE(hear(Sender::producer, encode(ByteClose{})).error, "");
  EXPECT_NE(hear(Sender::producer, encode(ByteDone{})).error, "");
  EXPECT_NE(hear(Sender::producer, std::string_view("\x00\x00\x00\x00", 4)).error, "");
  EXPECT_NE(hear(Sender::producer, std::string_view("\x06\x00\x00\x00", 4)).error, "");
}

TEST(ByteFrames, NothingFollowsALastFrame) {
  EXPECT_NE(hear(Sender::producer, encode(ByteEnd{}) + framed("x")).error, "");
  EXPECT_NE(hear(Sender::producer, encode(ByteAbort{}) + "x").error, "");
  EXPECT_NE(hear(Sender::consumer, encode(ByteClose{}) + encode(ByteClose{})).error, "");
}

TEST(ByteFrames, AChecksumIsGivenOrAbsentNothingElse) {
  std::string end = encode(ByteEnd{.length = 1, .checksum = 5});
  end[12] = 2;
  EXPECT_NE(hear(Sender::producer, end).error, "");
  end[12] = 0;
  EXPECT_NE(hear(Sender::producer, end).error, "") << "absent, but not zero";
}

TEST(ByteFrames, AnErrorStays) {
  ByteFrameDecoder decoder(Sender::producer);
  auto bad = bytes_of(std::string_view("\x09\x00\x00\x00", 4));
  EXPECT_FALSE(decoder.next(bad));
  std::string good = framed("abc");
  auto more = bytes_of(good);
  EXPECT_FALSE(decoder.next(more));
}

// A reader that takes what is missing, and passes on data unseen, as with splice(2), never loses its place.
TEST(ByteFrames, WhatIsMissingIsNeverData) {
  std::string bytes = framed("abc") + framed(std::string(1000, 'x')) + encode(ByteEnd{.length = 1003, .checksum = {}});
  ByteFrameDecoder decoder(Sender::producer);
  std::string_view rest = bytes;
  std::size_t unseen = 0;
  bool ended = false;
  while (!ended) {
    std::size_t data_size = decoder.payload_left();
    EXPECT_EQ(data_size > 0, decoder.missing() == 0);
    std::size_t take = data_size > 0 ? data_size : decoder.missing();
    auto part = bytes_of(rest.substr(0, take));
    rest.remove_prefix(take);
    if (data_size > 0) {
      decoder.skip_payload(data_size);
      unseen += data_size;
      continue;
    }
    auto event = decoder.next(part);
    ASSERT_TRUE(event.has_value());
    ended = event->has_value();
  }
  EXPECT_EQ(unseen, 1003u);
  EXPECT_TRUE(rest.empty());
}

TEST(ByteFrames, RandomStreamsInRandomPieces) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SeededRandom random(seed);
    std::string bytes, stream;
    for (std::uint64_t frames = random.below(20); frames > 0; --frames) {
      std::string text(1 + random.below(random.below(4) == 0 ? 3000 : 5), static_cast<char>(random()));
      bytes += framed(text);
      stream += text;
    }
    bytes += encode(ByteEnd{.length = stream.size(), .checksum = random()});
    ByteFrameDecoder decoder(Sender::producer);
    Heard heard;
    for (std::size_t at = 0; at < bytes.size();) {
      std::size_t size = 1 + random.below(random.below(2) == 0 ? 3 : 2000);
      listen(decoder, bytes_of(std::string_view(bytes).substr(at, size)), heard);
      at += size;
    }
    EXPECT_EQ(heard.error, "") << seed;
    EXPECT_EQ(heard.stream, stream) << seed;
    EXPECT_EQ(heard.words.size(), 1u) << seed;
  }
}

// Whatever one byte becomes, the decoder answers, and gives never more data than there are bytes.
TEST(ByteFrames, MutatedStreamsAreAnswered) {
  std::string whole = framed("abc") + framed("defgh") + encode(ByteEnd{.length = 8, .checksum = 3});
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(value);
      for (Sender sender : {Sender::producer, Sender::consumer}) {
        Heard heard = hear(sender, bytes, at);
        EXPECT_LE(heard.stream.size(), bytes.size());
        EXPECT_LE(heard.words.size(), 1u);
      }
    }
  }
}

}  // namespace
}  // namespace sluice::link
