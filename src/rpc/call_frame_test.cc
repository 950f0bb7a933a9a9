#include "rpc/call_frame.h"

#include <gmock/gmock.h>

#include "base/random.h"

namespace sluice::rpc {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

std::string bytes_of(const Frame& frame) {
  std::string bytes;
  put_frame(bytes, frame);
  return bytes;
}

// The one frame of `bytes`.
std::expected<std::optional<Frame>, std::string> first_of(FrameReader& reader, std::string_view bytes) {
  reader.append(bytes);
  return reader.next();
}

std::expected<CallRequest, std::string> decoded_request(const std::string& bytes) {
  FrameReader reader;
  auto frame = first_of(reader, bytes);
  if (!frame) return std::unexpected(frame.error());
  return decode_request(**frame);
}

std::string header(std::uint32_t length, std::uint8_t type, std::uint8_t flags, std::uint32_t stream) {
  std::string bytes = bytes_of({FrameType{type}, flags, StreamId{stream}, {}});
  for (int i = 0; i < 4; ++i) bytes[static_cast<std::size_t>(i)] = static_cast<char>(length >> (24 - 8 * i));
  return bytes;
}

std::string fault_of(std::string_view bytes) {
  FrameReader reader;
  auto frame = first_of(reader, bytes);
  return frame ? "" : frame.error();
}

TEST(CallFrame, ARequestComesBackAsItWasSent) {
  for (const CallRequest& request :
       {CallRequest{"a.B/C", {}, {}}, CallRequest{"a.B/C", 1500ms, {}},
        CallRequest{std::string(kMethodNameMax, 'm'), 0ms, OnBehalf{net::Role::run, "Zoë"}}}) {
    std::string bytes;
    put_request(bytes, StreamId{7}, request);
    auto decoded = decoded_request(bytes);
    ASSERT_TRUE(decoded.has_value()) << decoded.error();
    EXPECT_EQ(*decoded, request);
  }
}

TEST(CallFrame, ATimeoutIsCutToWhatFits) {
  for (auto [sent, received] :
       {std::pair{-1ms, 0ms}, std::pair{std::chrono::milliseconds(1h * 24 * 365), 4294967295ms}}) {
    std::string bytes;
    put_request(bytes, StreamId{1}, {"a.B/C", sent, {}});
    EXPECT_EQ(decoded_request(bytes)->timeout, received);
  }
}

TEST(CallFrame, AStatusComesBackAsItWasSent) {
  std::string bytes;
  put_end(bytes, StreamId{7}, {Code::not_found, "no such flow"});
  FrameReader reader;
  auto frame = first_of(reader, bytes);
  EXPECT_EQ(decode_end(**frame), (Status{Code::not_found, "no such flow"}));
}

TEST(CallFrame, ALongMessageOfAStatusIsCutBetweenCharacters) {
  std::string text = "x";
  while (text.size() <= kStatusMessageMax) text += "é";
  std::string bytes;
  put_end(bytes, StreamId{7}, {Code::internal, text});
  FrameReader reader;
  auto status = decode_end(**first_of(reader, bytes));
  EXPECT_EQ(status->message, text.substr(0, kStatusMessageMax - 1));
}

TEST(CallFrame, ACodeOfALaterVersionIsUnknown) {
  FrameReader reader;
  auto status = decode_end(**first_of(reader, bytes_of({FrameType::end, 0, StreamId{1}, {"\x63\0\0", 3}})));
  EXPECT_EQ(status->code, Code::unknown);
}

TEST(CallFrame, AReaderTakesFramesFromPiecesOfAnySize) {
  std::string bytes;
  for (std::uint32_t i = 1; i <= 50; ++i)
    put_frame(bytes, {FrameType::message, frame_flag::more, StreamId{i}, std::string(i * 7, 'x')});
  for (std::size_t piece : {1, 3, 10, 1000, 100000}) {
    FrameReader reader;
    std::uint32_t count = 0;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      std::string copy = bytes.substr(at, piece);  // what was appended may go when everything was taken
      reader.append(copy);
      while (auto frame = reader.next().value()) {
        ++count;
        EXPECT_EQ(frame->stream, StreamId{count});
        EXPECT_EQ(frame->payload, std::string(count * 7, 'x'));
      }
    }
    EXPECT_EQ(count, 50u);
    EXPECT_EQ(reader.held(), 0u);
  }
}

TEST(CallFrame, WhatNoPeerSendsIsRefusedByItsHeaderAlone) {
  EXPECT_THAT(fault_of(header(0xffffffff, 2, 0, 1)), HasSubstr("4294967295 bytes"));
  EXPECT_THAT(fault_of(header(kFramePayloadMax + 1, 99, frame_flag::ignorable, 1)), HasSubstr("at most 1048576"));
  EXPECT_THAT(fault_of(header(0, 99, 0, 1)), HasSubstr("type 99, which is unknown"));
  EXPECT_THAT(fault_of(header(0, 2, 0x40, 1)), HasSubstr("the flags 0x40"));
  EXPECT_THAT(fault_of(header(0, 2, frame_flag::ignorable, 1)), HasSubstr("the flags 0x80"));
  EXPECT_THAT(fault_of(header(0, 2, 0, 0)), HasSubstr("for call 0"));
  EXPECT_THAT(fault_of(header(1, 3, 0, 1)), HasSubstr("with 1 bytes"));
  EXPECT_THAT(fault_of(header(5, 6, 0, 1)), HasSubstr("with 5 bytes"));
  EXPECT_THAT(fault_of(header(5000, 4, 0, 1)), HasSubstr("with 5000 bytes"));
  EXPECT_THAT(fault_of(header(1, 1, 0, 1)), HasSubstr("with 1 bytes"));
}

TEST(CallFrame, AnUnknownFrameThatSaysSoIsSkipped) {
  std::string bytes =
      header(3, 99, frame_flag::ignorable | 0x11, 0) + "abc" + bytes_of({FrameType::done, 0, StreamId{1}, {}});
  FrameReader reader;
  auto frame = first_of(reader, bytes);
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ((*frame)->type, FrameType::done);
}

TEST(CallFrame, AFieldThatDoesNotFitIsAnError) {
  auto request = [](std::string_view payload, std::uint8_t flags = 0) {
    return decoded_request(bytes_of({FrameType::request, flags, StreamId{1}, payload})).has_value();
  };
  EXPECT_TRUE(request({"\0\1m", 3}));
  EXPECT_FALSE(request({"\0\2m", 3}));   // shorter than it says
  EXPECT_FALSE(request({"\0\1mm", 4}));  // longer
  EXPECT_FALSE(request({"\0\0", 2}));    // no name
  EXPECT_FALSE(request({"\0\1\n", 3}));  // a name that would break a line of the log
  EXPECT_FALSE(request({"\0\1m\0\0", 5}, frame_flag::timeout));
  EXPECT_TRUE(request({"\0\1m\x03\0\1x", 7}, frame_flag::on_behalf));
  EXPECT_FALSE(request({"\0\1m\x0a\0\1x", 7}, frame_flag::on_behalf));  // no such role
  EXPECT_FALSE(request({"\0\1m\x03\0\1\x1b", 7}, frame_flag::on_behalf));
}

TEST(CallFrame, MutatedBytesAreRefusedOrRead) {
  SeededRandom random(7);
  std::string good;
  put_request(good, StreamId{1}, {"a.B/C", 10s, OnBehalf{net::Role::operate, "ann"}});
  put_frame(good, {FrameType::message, frame_flag::last, StreamId{1}, "hello"});
  put_end(good, StreamId{1}, {Code::aborted, "no"});
  put_credit(good, StreamId{1}, 65536);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good.substr(0, random.below(good.size() + 1));
    for (std::uint64_t i = random.below(4); i-- > 0 && !bytes.empty();)
      bytes[random.below(bytes.size())] = static_cast<char>(random());
    FrameReader reader;
    reader.append(bytes);
    while (true) {
      auto frame = reader.next();
      if (!frame || !*frame) break;
      EXPECT_LE((*frame)->payload.size(), bytes.size());
      if ((*frame)->type == FrameType::request) (void)decode_request(**frame);
      if ((*frame)->type == FrameType::end) (void)decode_end(**frame);
      if ((*frame)->type == FrameType::credit) (void)decode_credit(**frame);
    }
  }
}

}  // namespace
}  // namespace sluice::rpc
