#include "link/record_frames.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/require.h"
#include "base/wire.h"

namespace sluice::link {
namespace {

using Sender = RecordFrameReader::Sender;

struct KindRule {
  Sender sender = Sender::either;
  std::size_t size_min = 0;
  std::size_t size_max = 0;
};

constexpr std::size_t kRangeSize = 16;
constexpr std::size_t kNackHeadSize = 9;

// By kind; a kind that there is not has no rule.
std::optional<KindRule> rule_of(std::uint8_t kind) {
  switch (static_cast<RecordFrameKind>(kind)) {
    case RecordFrameKind::batch:
      return KindRule{Sender::producer, kBatchHeadSize + 1, kRecordFrameMax};
    case RecordFrameKind::long_record:
      return KindRule{Sender::producer, kLongHeadSize + 1, kRecordFrameMax};
    case RecordFrameKind::long_more:
      return KindRule{Sender::producer, 1, kRecordFrameMax};
    case RecordFrameKind::noted:
    case RecordFrameKind::end:
      return KindRule{Sender::producer, 8, 8};
    case RecordFrameKind::cancel:
      return KindRule{Sender::either, 0, kRecordReasonMax};
    case RecordFrameKind::attach:
    case RecordFrameKind::done:
      return KindRule{Sender::consumer, 8, 8};
    case RecordFrameKind::credit:
      return KindRule{Sender::consumer, 16, 16};
    case RecordFrameKind::ack:
      return KindRule{Sender::consumer, 8, 8 + kAckRangesMax * kRangeSize};
    case RecordFrameKind::nack:
      return KindRule{Sender::consumer, kNackHeadSize, kNackHeadSize + kRecordReasonMax};
    case RecordFrameKind::pause:
    case RecordFrameKind::resume:
    case RecordFrameKind::drain:
      return KindRule{Sender::consumer, 0, 0};
  }
  return std::nullopt;
}

std::expected<void, std::string> check_sender(Sender sender, Sender side) {
  if (sender == side || sender == Sender::either) return {};
  return std::unexpected(side == Sender::producer ? "the producer sent a frame of a consumer"
                                                  : "the consumer sent a frame of a producer");
}

void put_header(WireWriter& writer, RecordFrameKind kind, std::size_t size) {
  writer.put(static_cast<std::uint32_t>(kind) << 24 | static_cast<std::uint32_t>(size));
}

template <class... Numbers>
std::string encode_numbers(RecordFrameKind kind, Numbers... numbers) {
  WireWriter writer;
  put_header(writer, kind, (std::size_t{0} + ... + sizeof(numbers)));
  (writer.put(numbers), ...);
  return writer.take();
}

constexpr std::uint8_t kDelimitedFlag = 1;
constexpr std::uint8_t kStarvedOfRecordsFlag = 2;
constexpr std::uint8_t kStarvedOfBytesFlag = 4;
constexpr std::uint8_t kKnownFlags = kDelimitedFlag | kStarvedOfRecordsFlag | kStarvedOfBytesFlag;

std::uint8_t flags_of(const RecordDelivery& delivery) {
  bool delimited = delivery.batch.shape().layout == RecordLayout::delimited;
  return static_cast<std::uint8_t>((delimited ? kDelimitedFlag : 0) |
                                   (delivery.starved.of_records ? kStarvedOfRecordsFlag : 0) |
                                   (delivery.starved.of_bytes ? kStarvedOfBytesFlag : 0));
}

// What a batch and a long record have in common, in this order.
void put_head(WireWriter& writer, const RecordDelivery& delivery) {
  const RecordShape& shape = delivery.batch.shape();
  bool delimited = shape.layout == RecordLayout::delimited;
  writer.put(delivery.first);
  writer.put(shape.first);
  writer.put(shape.count);
  writer.put(shape.attempt);
  writer.put(flags_of(delivery));
  writer.put(static_cast<std::uint8_t>(delimited ? shape.delimiter : 0));
}

struct Head {
  DeliveryNumber delivery = 0;
  Starved starved;
  RecordShape shape;
};

std::expected<Head, std::string> get_head(WireReader& reader) {
  Head head;
  head.delivery = reader.get<std::uint64_t>();
  head.shape.first = reader.get<std::uint64_t>();
  head.shape.count = reader.get<std::uint32_t>();
  head.shape.attempt = reader.get<std::uint16_t>();
  auto flags = reader.get<std::uint8_t>();
  auto delimiter = reader.get<std::uint8_t>();
  INVARIANT(!reader.failed());  // the length was checked
  bool delimited = (flags & kDelimitedFlag) != 0;
  if ((flags & ~kKnownFlags) != 0) return std::unexpected("a batch of records has an unknown flag");
  if (!delimited && delimiter != 0) return std::unexpected("a batch of sized records names a delimiter");
  if (head.shape.count == 0) return std::unexpected("a batch has no record");
  if (head.delivery == 0 || head.shape.first == 0) return std::unexpected("a record's number is 0");
  if (head.delivery + head.shape.count < head.delivery || head.shape.first + head.shape.count < head.shape.first)
    return std::unexpected("a record's number is beyond what can be counted");
  head.starved = {.of_records = (flags & kStarvedOfRecordsFlag) != 0, .of_bytes = (flags & kStarvedOfBytesFlag) != 0};
  if (delimited) {
    head.shape.layout = RecordLayout::delimited;
    head.shape.delimiter = static_cast<char>(delimiter);
  }
  return head;
}

DeliveryPiece encode_batch(const RecordDelivery& delivery) {
  WireWriter writer;
  const RecordBatch& batch = delivery.batch;
  put_header(writer, RecordFrameKind::batch, kBatchHeadSize + batch.size_table().size() + batch.size());
  put_head(writer, delivery);
  return {.head = writer.take(), .table = batch.size_table(), .bytes = batch.bytes()};
}

DeliveryPiece encode_long_head(const RecordDelivery& delivery, std::string_view& bytes) {
  std::string_view piece = bytes.substr(0, kRecordFrameMax - kLongHeadSize);
  WireWriter writer;
  put_header(writer, RecordFrameKind::long_record, kLongHeadSize + piece.size());
  put_head(writer, delivery);
  writer.put(std::uint64_t{bytes.size()});
  bytes.remove_prefix(piece.size());
  return {.head = writer.take(), .table = {}, .bytes = piece};
}

DeliveryPiece encode_more(std::string_view& bytes) {
  std::string_view piece = bytes.substr(0, kRecordFrameMax);
  WireWriter writer;
  put_header(writer, RecordFrameKind::long_more, piece.size());
  bytes.remove_prefix(piece.size());
  return {.head = writer.take(), .table = {}, .bytes = piece};
}

std::expected<ConsumerFrame, std::string> decode_ack(WireReader& reader) {
  RecordAck ack{.up_to = reader.get<std::uint64_t>(), .ranges = {}};
  DeliveryNumber above = ack.up_to;
  while (reader.left() >= kRangeSize) {
    DeliveryRange range{.first = reader.get<std::uint64_t>(), .last = reader.get<std::uint64_t>()};
    // The number behind the one that was acknowledged last can't be acknowledged as a range: it would belong to it.
    if (range.first <= above || range.first - above < 2 || range.last < range.first)
      return std::unexpected("the ranges of an acknowledgement overlap, touch or are out of order");
    above = range.last;
    ack.ranges.push_back(range);
  }
  if (!reader.complete()) return std::unexpected("an acknowledgement ends within a range");
  return ack;
}

std::expected<ConsumerFrame, std::string> decode_nack(WireReader& reader) {
  RecordNack nack{.delivery = reader.get<std::uint64_t>()};
  auto cause = reader.get<std::uint8_t>();
  if (cause < 1 || cause > 3) return std::unexpected("a record was sent back for an unknown cause");
  nack.cause = static_cast<NackCause>(cause);
  nack.reason = reader.rest();
  return nack;
}

std::expected<ConsumerFrame, std::string> decode_consumer_frame(const RecordFrameReader::Frame& frame) {
  WireReader reader(frame.body);
  switch (frame.kind) {
    case RecordFrameKind::attach:
      return RecordAttach{.next = reader.get<std::uint64_t>()};
    case RecordFrameKind::credit: {
      auto deliveries = reader.get<std::uint64_t>();
      return RecordCredit{.deliveries = deliveries, .bytes = reader.get<std::uint64_t>()};
    }
    case RecordFrameKind::ack:
      return decode_ack(reader);
    case RecordFrameKind::nack:
      return decode_nack(reader);
    case RecordFrameKind::pause:
      return RecordPause{};
    case RecordFrameKind::resume:
      return RecordResume{};
    case RecordFrameKind::drain:
      return RecordDrain{};
    case RecordFrameKind::done:
      return RecordDone{.deliveries = reader.get<std::uint64_t>()};
    case RecordFrameKind::cancel:
      return RecordCancel{.reason = std::string(frame.body)};
    case RecordFrameKind::batch:
    case RecordFrameKind::long_record:
    case RecordFrameKind::long_more:
    case RecordFrameKind::noted:
    case RecordFrameKind::end:
      break;
  }
  INVARIANT(false);  // refused at its header
  std::unreachable();
}

}  // namespace

bool fits_frame(const RecordBatch& batch) {
  return kBatchHeadSize + batch.size_table().size() + batch.size() <= kRecordFrameMax;
}

std::vector<DeliveryPiece> encode_pieces(const RecordDelivery& delivery) {
  REQUIRE(!delivery.batch.empty());
  std::vector<DeliveryPiece> pieces;
  if (fits_frame(delivery.batch)) {
    pieces.push_back(encode_batch(delivery));
    return pieces;
  }
  REQUIRE(delivery.batch.count() == 1);
  std::string_view bytes = delivery.batch.bytes();
  pieces.push_back(encode_long_head(delivery, bytes));
  while (!bytes.empty()) pieces.push_back(encode_more(bytes));
  return pieces;
}

std::string encode(const RecordNoted& noted) { return encode_numbers(RecordFrameKind::noted, noted.delivery); }
std::string encode(const RecordEnd& end) { return encode_numbers(RecordFrameKind::end, end.deliveries); }

std::string encode(const RecordCancel& cancel) {
  std::string_view reason = std::string_view(cancel.reason).substr(0, kRecordReasonMax);
  WireWriter writer;
  put_header(writer, RecordFrameKind::cancel, reason.size());
  writer.put_raw(reason);
  return writer.take();
}

std::string encode(const RecordAttach& attach) { return encode_numbers(RecordFrameKind::attach, attach.next); }

std::string encode(const RecordCredit& credit) {
  return encode_numbers(RecordFrameKind::credit, credit.deliveries, credit.bytes);
}

std::string encode(const RecordAck& ack) {
  REQUIRE(ack.ranges.size() <= kAckRangesMax);
  WireWriter writer;
  put_header(writer, RecordFrameKind::ack, 8 + ack.ranges.size() * kRangeSize);
  writer.put(ack.up_to);
  for (const DeliveryRange& range : ack.ranges) {
    writer.put(range.first);
    writer.put(range.last);
  }
  return writer.take();
}

std::string encode(const RecordNack& nack) {
  std::string_view reason = std::string_view(nack.reason).substr(0, kRecordReasonMax);
  WireWriter writer;
  put_header(writer, RecordFrameKind::nack, kNackHeadSize + reason.size());
  writer.put(nack.delivery);
  writer.put(static_cast<std::uint8_t>(nack.cause));
  writer.put_raw(reason);
  return writer.take();
}

std::string encode(const RecordPause&) { return encode_numbers(RecordFrameKind::pause); }
std::string encode(const RecordResume&) { return encode_numbers(RecordFrameKind::resume); }
std::string encode(const RecordDrain&) { return encode_numbers(RecordFrameKind::drain); }
std::string encode(const RecordDone& done) { return encode_numbers(RecordFrameKind::done, done.deliveries); }

std::string encode(const ConsumerFrame& frame) {
  return std::visit([](const auto& one) { return encode(one); }, frame);
}

std::expected<std::optional<RecordFrameReader::Frame>, std::string> RecordFrameReader::next(
    std::span<const std::byte>& bytes) {
  if (!failure_.empty()) return std::unexpected(failure_);
  if (!in_body_) {
    while (header_.size() < kRecordHeaderSize && !bytes.empty()) {
      header_.push_back(static_cast<char>(bytes.front()));
      bytes = bytes.subspan(1);
    }
    if (header_.size() < kRecordHeaderSize) return std::nullopt;
    if (auto read = read_header(); !read) {
      failure_ = read.error();
      return std::unexpected(failure_);
    }
  }
  std::size_t size = std::min(bytes.size(), body_size_ - body_have_);
  if (size > 0) std::memcpy(body_.get() + body_have_, bytes.data(), size);
  body_have_ += size;
  bytes = bytes.subspan(size);
  if (body_have_ < body_size_) return std::nullopt;
  in_body_ = false;
  header_.clear();
  std::string_view body(body_.get(), body_size_);
  return Frame{.kind = kind_, .body = body, .owner = std::exchange(body_, nullptr)};
}

std::expected<void, std::string> RecordFrameReader::read_header() {
  WireReader reader(header_);
  auto word = reader.get<std::uint32_t>();
  auto kind = static_cast<std::uint8_t>(word >> 24);
  std::size_t size = word & 0xffffff;
  auto rule = rule_of(kind);
  if (!rule) return std::unexpected("a frame of a kind that record links do not have");
  if (auto sender = check_sender(rule->sender, sender_); !sender) return sender;
  if (size < rule->size_min || size > rule->size_max)
    return std::unexpected("a frame of a record link has a length that its kind does not allow");
  kind_ = static_cast<RecordFrameKind>(kind);
  body_size_ = size;
  body_have_ = 0;
  body_ = take_block(blocks_, size);
  in_body_ = true;
  return {};
}

std::span<std::byte> RecordFrameReader::vacant() {
  if (!in_body_) return {};
  return std::as_writable_bytes(std::span(body_.get() + body_have_, body_size_ - body_have_));
}

void RecordFrameReader::commit(std::size_t size) {
  REQUIRE(size <= vacant().size());
  body_have_ += size;
}

std::expected<std::optional<ProducerFrame>, std::string> ProducerFrameDecoder::next(std::span<const std::byte>& bytes) {
  while (true) {
    auto frame = reader_.next(bytes);
    if (!frame) return std::unexpected(std::move(frame.error()));
    if (!*frame) return std::nullopt;
    auto decoded = decode(**frame);
    if (!decoded) {
      reader_.fail(decoded.error());
      return decoded;
    }
    if (*decoded) return decoded;
  }
}

std::expected<std::optional<ProducerFrame>, std::string> ProducerFrameDecoder::decode(
    const RecordFrameReader::Frame& frame) {
  if (frame.kind == RecordFrameKind::long_more) return go_on_long(frame.body);
  if (frame.kind == RecordFrameKind::cancel) return ProducerFrame(RecordCancel{.reason = std::string(frame.body)});
  if (long_) return std::unexpected("a frame stands within a long record");
  if (frame.kind == RecordFrameKind::long_record) return begin_long(frame.body);
  if (frame.kind == RecordFrameKind::batch) return decode_batch(frame);
  WireReader reader(frame.body);
  auto number = reader.get<std::uint64_t>();
  if (frame.kind == RecordFrameKind::noted) return ProducerFrame(RecordNoted{.delivery = number});
  return ProducerFrame(RecordEnd{.deliveries = number});
}

std::expected<std::optional<ProducerFrame>, std::string> ProducerFrameDecoder::decode_batch(
    const RecordFrameReader::Frame& frame) const {
  WireReader reader(frame.body);
  auto head = get_head(reader);
  if (!head) return std::unexpected(std::move(head.error()));
  auto batch = RecordBatch::of_wire(head->shape, reader.rest(), frame.owner);
  if (!batch) return std::unexpected(std::move(batch.error()));
  if (batch->size() > record_max_ && batch->size_max() > record_max_) return std::unexpected(too_long());
  return ProducerFrame(RecordDelivery{.first = head->delivery, .starved = head->starved, .batch = *std::move(batch)});
}

std::expected<std::optional<ProducerFrame>, std::string> ProducerFrameDecoder::begin_long(std::string_view body) {
  WireReader reader(body);
  auto head = get_head(reader);
  if (!head) return std::unexpected(std::move(head.error()));
  auto size = reader.get<std::uint64_t>();
  if (head->shape.count != 1) return std::unexpected("a long record is not one record");
  if (size > record_max_) return std::unexpected(too_long());
  long_.emplace(LongRecord{.delivery = head->delivery, .starved = head->starved, .shape = head->shape, .size = size});
  if (head->shape.layout == RecordLayout::sized) {
    WireWriter table;
    table.put(static_cast<std::uint32_t>(size));
    long_->content = table.take();
  }
  return go_on_long(reader.rest());
}

std::expected<std::optional<ProducerFrame>, std::string> ProducerFrameDecoder::go_on_long(std::string_view bytes) {
  if (!long_) return std::unexpected("the rest of a long record comes without its beginning");
  long_->content.append(bytes);
  std::size_t whole = long_->size + (long_->shape.layout == RecordLayout::sized ? kRecordSizeWidth : 0);
  if (long_->content.size() < whole) return std::nullopt;
  if (long_->content.size() > whole) return std::unexpected("a long record is longer than it says");
  LongRecord record = *std::exchange(long_, std::nullopt);
  auto content = std::make_shared<const std::string>(std::move(record.content));
  auto batch = RecordBatch::of_wire(record.shape, *content, content);
  if (!batch) return std::unexpected(std::move(batch.error()));
  return ProducerFrame(RecordDelivery{.first = record.delivery, .starved = record.starved, .batch = *std::move(batch)});
}

std::string ProducerFrameDecoder::too_long() const {
  return fmt::format("a record is longer than {} bytes", record_max_);
}

std::expected<std::optional<ConsumerFrame>, std::string> ConsumerFrameDecoder::next(std::span<const std::byte>& bytes) {
  auto frame = reader_.next(bytes);
  if (!frame) return std::unexpected(std::move(frame.error()));
  if (!*frame) return std::nullopt;
  auto decoded = decode_consumer_frame(**frame);
  if (decoded) return *std::move(decoded);
  reader_.fail(decoded.error());
  return std::unexpected(std::move(decoded.error()));
}

}  // namespace sluice::link
