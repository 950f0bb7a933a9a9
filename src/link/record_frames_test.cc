#include "link/record_frames.h"

#include <gmock/gmock.h>

#include <cstring>

#include "base/random.h"

namespace sluice::link {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::size_t kRecordMax = std::size_t{4} << 20;

RecordBatch lines(RecordId first, std::string text, std::uint16_t attempt = 1) {
  RecordBatch batch = RecordBatch::of_delimited(first, '\n', std::move(text)).value();
  batch.set_attempt(attempt);
  return batch;
}

RecordBatch one_sized(RecordId first, const std::string& record) {
  std::uint32_t size = static_cast<std::uint32_t>(record.size());
  return RecordBatch::of_sized(first, std::span(&size, 1), record);
}

std::string wire(const RecordDelivery& delivery) {
  std::string bytes;
  for (const DeliveryPiece& piece : encode_pieces(delivery))
    bytes.append(piece.head).append(piece.table).append(piece.bytes);
  return bytes;
}

// What the decoder makes of `bytes`, given in pieces of `step`.
template <class Decoder>
auto decode(Decoder&& decoder, std::string_view bytes, std::size_t step = ~std::size_t{0}) {
  using Frame = typename std::decay_t<decltype(*decoder.next(std::declval<std::span<const std::byte>&>()))>::value_type;
  std::vector<Frame> frames;
  std::string error;
  while (!bytes.empty() && error.empty()) {
    auto piece = std::as_bytes(std::span(bytes.substr(0, step)));
    bytes.remove_prefix(piece.size());
    while (true) {
      auto frame = decoder.next(piece);
      if (!frame) error = frame.error();
      if (!frame || !*frame) break;
      frames.push_back(*std::move(*frame));
    }
  }
  return std::pair(std::move(frames), error);
}

std::string error_of_producer(std::string_view bytes, std::size_t record_max = kRecordMax) {
  return decode(ProducerFrameDecoder(record_max), bytes).second;
}
std::string error_of_consumer(std::string_view bytes) { return decode(ConsumerFrameDecoder(), bytes).second; }

void expect_same(const RecordBatch& got, const RecordBatch& sent) {
  EXPECT_EQ(got.shape(), sent.shape());
  EXPECT_EQ(got.bytes(), sent.bytes());
  EXPECT_EQ(got.size_table(), sent.size_table());
}

TEST(RecordFrames, BytesOfABatchOfLines) {
  std::string bytes = wire({.first = 2, .starved = {.of_bytes = true}, .batch = lines(5, "a\nbc\n", 3)});
  EXPECT_EQ(bytes,
            "\x01\0\0\x1d"
            "\0\0\0\0\0\0\0\2"
            "\0\0\0\0\0\0\0\5"
            "\0\0\0\2"
            "\0\3"
            "\5"
            "\n"
            "a\nbc\n"s);
}

TEST(RecordFrames, BytesOfAnAcknowledgement) {
  EXPECT_EQ(encode(RecordAck{.up_to = 3, .ranges = {{5, 6}}}),
            "\x08\0\0\x18"
            "\0\0\0\0\0\0\0\3"
            "\0\0\0\0\0\0\0\5"
            "\0\0\0\0\0\0\0\6"s);
}

TEST(RecordFrames, DeliveriesComeBackInPiecesOfAnySize) {
  for (const RecordBatch& batch :
       {lines(1, "a\nb\n"), one_sized(9, "x"), one_sized(9, ""), one_sized(3, std::string(3 << 20, 'x')),
        lines(4, std::string(2 << 20, 'y') + "\n")}) {
    RecordDelivery sent{.first = 7, .starved = {.of_records = true}, .batch = batch};
    std::string bytes = wire(sent) + encode(RecordNoted{.delivery = 7}) + encode(RecordEnd{.deliveries = 8});
    for (std::size_t step : {std::size_t{1} << 30, std::size_t{70000}, std::size_t{7}}) {
      auto [frames, error] = decode(ProducerFrameDecoder(kRecordMax), bytes, step);
      ASSERT_EQ(error, "");
      ASSERT_EQ(frames.size(), 3u);
      const auto& got = std::get<RecordDelivery>(frames[0]);
      EXPECT_EQ(got.first, sent.first);
      EXPECT_EQ(got.starved, sent.starved);
      expect_same(got.batch, batch);
      EXPECT_EQ(std::get<RecordNoted>(frames[1]), RecordNoted{7});
      EXPECT_EQ(std::get<RecordEnd>(frames[2]), RecordEnd{8});
    }
  }
}

TEST(RecordFrames, BytesMayBeReadWhereTheyBelong) {
  std::string bytes = wire({.first = 1, .batch = lines(1, "hello\n")});
  ProducerFrameDecoder decoder(kRecordMax);
  EXPECT_TRUE(decoder.vacant().empty());
  auto head = std::as_bytes(std::span(bytes)).first(kRecordHeaderSize + 1);
  ASSERT_FALSE(decoder.next(head).value().has_value());
  std::span<std::byte> room = decoder.vacant();
  ASSERT_EQ(room.size(), bytes.size() - kRecordHeaderSize - 1);
  std::memcpy(room.data(), bytes.data() + kRecordHeaderSize + 1, room.size());
  decoder.commit(room.size());
  std::span<const std::byte> nothing;
  auto frame = decoder.next(nothing);
  ASSERT_TRUE(frame && *frame);
  EXPECT_EQ(std::get<RecordDelivery>(**frame).batch.bytes(), "hello\n");
}

TEST(RecordFrames, ConsumersFramesComeBack) {
  std::vector<ConsumerFrame> sent{RecordAttach{.next = 4},
                                  RecordCredit{.deliveries = 10, .bytes = 1 << 20},
                                  RecordAck{.up_to = 3, .ranges = {{5, 5}, {7, 9}}},
                                  RecordAck{},
                                  RecordNack{.delivery = 4, .cause = NackCause::lost, .reason = "signal 9"},
                                  RecordPause{},
                                  RecordResume{},
                                  RecordDrain{},
                                  RecordDone{.deliveries = 9},
                                  RecordCancel{.reason = "enough"}};
  std::string bytes;
  for (const ConsumerFrame& frame : sent) bytes += encode(frame);
  for (std::size_t step : {std::size_t{1}, std::size_t{1000}}) {
    auto [frames, error] = decode(ConsumerFrameDecoder(), bytes, step);
    EXPECT_EQ(error, "");
    EXPECT_EQ(frames, sent);
  }
}

TEST(RecordFrames, AReasonThatIsTooLongIsCut) {
  auto [frames, error] = decode(ConsumerFrameDecoder(), encode(RecordCancel{.reason = std::string(5000, 'r')}));
  ASSERT_EQ(error, "");
  EXPECT_EQ(std::get<RecordCancel>(frames.at(0)).reason.size(), kRecordReasonMax);
}

TEST(RecordFrames, EachSideHasFramesOfItsOwn) {
  EXPECT_THAT(error_of_producer(encode(RecordAttach{})), HasSubstr("frame of a consumer"));
  EXPECT_THAT(error_of_consumer(encode(RecordEnd{})), HasSubstr("frame of a producer"));
  EXPECT_THAT(error_of_consumer(wire({.first = 1, .batch = lines(1, "a\n")})), HasSubstr("frame of a producer"));
}

TEST(RecordFrames, UnknownKindsAndLengthsAreRefusedAtTheHeader) {
  EXPECT_THAT(error_of_consumer("\0\0\0\0"s), HasSubstr("kind"));
  EXPECT_THAT(error_of_consumer("\xff\0\0\0"s), HasSubstr("kind"));
  EXPECT_THAT(error_of_producer("\1\x10\0\1"s), HasSubstr("length"));
  EXPECT_THAT(error_of_producer("\1\0\0\x18"s), HasSubstr("length"));
  EXPECT_THAT(error_of_consumer("\6\0\0\7"s), HasSubstr("length"));
  EXPECT_THAT(error_of_consumer("\x0a\0\0\1"s), HasSubstr("length"));
}

TEST(RecordFrames, AnErrorIsForEver) {
  ConsumerFrameDecoder decoder;
  EXPECT_NE(decode(decoder, encode(RecordEnd{})).second, "");
  EXPECT_NE(decode(decoder, encode(RecordPause{})).second, "");
}

TEST(RecordFrames, RecordsBeyondTheLimitAreRefused) {
  EXPECT_THAT(error_of_producer(wire({.first = 1, .batch = lines(1, "abc\nlonger\n")}), 6), HasSubstr("longer than 6"));
  EXPECT_EQ(error_of_producer(wire({.first = 1, .batch = lines(1, "ab\ncd\nef\n")}), 6), "");
  std::string long_one = wire({.first = 1, .batch = one_sized(1, std::string(2 << 20, 'x'))});
  EXPECT_THAT(error_of_producer(long_one.substr(0, 40 + kLongHeadSize), 1 << 20), "");
  EXPECT_THAT(error_of_producer(long_one, 1 << 20), HasSubstr("longer than 1048576"));
}

// The body of a batch with one field of its head replaced.
std::string with(std::size_t offset, std::string_view bytes) {
  std::string frame = wire({.first = 1, .batch = lines(1, "a\n")});
  return frame.replace(kRecordHeaderSize + offset, bytes.size(), bytes);
}

TEST(RecordFrames, RefusesBatchesThatBreakTheRules) {
  EXPECT_EQ(error_of_producer(with(0, "\0\0\0\0\0\0\0\1"s)), "");
  EXPECT_THAT(error_of_producer(with(0, "\0\0\0\0\0\0\0\0"s)), HasSubstr("number is 0"));
  EXPECT_THAT(error_of_producer(with(8, "\0\0\0\0\0\0\0\0"s)), HasSubstr("number is 0"));
  EXPECT_THAT(error_of_producer(with(8, "\xff\xff\xff\xff\xff\xff\xff\xff"s)), HasSubstr("counted"));
  EXPECT_THAT(error_of_producer(with(16, "\0\0\0\0"s)), HasSubstr("no record"));
  EXPECT_THAT(error_of_producer(with(16, "\0\0\0\2"s)), HasSubstr("as many records"));
  EXPECT_THAT(error_of_producer(with(22, "\x81"s)), HasSubstr("unknown flag"));
  EXPECT_THAT(error_of_producer(with(22, "\0"s)), HasSubstr("names a delimiter"));
}

TEST(RecordFrames, NothingMayStandWithinALongRecordButItsCancel) {
  std::string long_one = wire({.first = 1, .batch = one_sized(1, std::string(2 << 20, 'x'))});
  std::string begin = long_one.substr(0, kRecordHeaderSize + kRecordFrameMax);
  EXPECT_THAT(error_of_producer(begin + encode(RecordEnd{})), HasSubstr("within a long record"));
  EXPECT_EQ(error_of_producer(begin + encode(RecordCancel{})), "");
  EXPECT_THAT(error_of_producer(long_one + "\3\0\0\1x"s), HasSubstr("without its beginning"));
  EXPECT_THAT(
      error_of_producer(begin + "\3\x10\0\0"s + std::string(1 << 20, 'x') + "\3\x10\0\0"s + std::string(1 << 20, 'x')),
      HasSubstr("longer than it says"));
}

TEST(RecordFrames, RefusesAcknowledgementsThatAreOutOfOrder) {
  for (const RecordAck& ack :
       {RecordAck{.up_to = 3, .ranges = {{4, 5}}}, RecordAck{.up_to = 3, .ranges = {{2, 5}}},
        RecordAck{.up_to = 3, .ranges = {{6, 5}}}, RecordAck{.up_to = 0, .ranges = {{5, 6}, {7, 8}}},
        RecordAck{.up_to = 0, .ranges = {{5, 6}, {3, 3}}}})
    EXPECT_THAT(error_of_consumer(encode(ack)), HasSubstr("ranges"));
  EXPECT_THAT(error_of_consumer("\x08\0\0\x09\0\0\0\0\0\0\0\0\0"s), HasSubstr("within a range"));
}

TEST(RecordFrames, AnyBytesAreTakenOrRefused) {
  SeededRandom random(random_seed());
  std::string good = wire({.first = 1, .batch = lines(1, "a\nb\n")}) +
                     wire({.first = 3, .batch = one_sized(3, "xyz")}) + encode(RecordNoted{.delivery = 1}) +
                     encode(RecordEnd{.deliveries = 3});
  std::string spoken = encode(RecordAttach{}) + encode(RecordCredit{.deliveries = 3, .bytes = 9}) +
                       encode(RecordAck{.up_to = 1, .ranges = {{3, 3}}}) + encode(RecordNack{.delivery = 2});
  for (int run = 0; run < 20000; ++run) {
    for (std::string* text : {&good, &spoken}) {
      std::string bytes = *text;
      for (std::uint64_t changes = 1 + random.below(4); changes > 0; --changes)
        bytes[random.below(bytes.size())] = static_cast<char>(random());
      (void)error_of_producer(bytes);
      (void)error_of_consumer(bytes);
    }
  }
}

}  // namespace
}  // namespace sluice::link
