#include "link/byte_frames.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/require.h"
#include "base/wire.h"

namespace sluice::link {
namespace {

constexpr std::size_t kEndSize = 17;
constexpr std::size_t kDoneSize = 8;

std::uint32_t header(ByteFrameKind kind, std::size_t length) {
  return static_cast<std::uint32_t>(kind) << 24 | static_cast<std::uint32_t>(length);
}
static_assert(kByteDataMax < std::size_t{1} << 24);

bool belongs_to(ByteFrameDecoder::Sender sender, ByteFrameKind kind) {
  switch (kind) {
    case ByteFrameKind::data:
    case ByteFrameKind::end:
      return sender == ByteFrameDecoder::Sender::producer;
    case ByteFrameKind::close:
    case ByteFrameKind::done:
      return sender == ByteFrameDecoder::Sender::consumer;
    case ByteFrameKind::abort:
      return true;
  }
  return false;
}

bool length_fits(ByteFrameKind kind, std::size_t length) {
  switch (kind) {
    case ByteFrameKind::data:
      return length >= 1 && length <= kByteDataMax;
    case ByteFrameKind::end:
      return length == kEndSize;
    case ByteFrameKind::abort:
      return length <= kByteReasonMax;
    case ByteFrameKind::close:
      return length == 0;
    case ByteFrameKind::done:
      return length == kDoneSize;
  }
  return false;
}

std::optional<ByteEnd> decode_end(std::string_view body) {
  WireReader reader(body);
  ByteEnd end{.length = reader.get<std::uint64_t>(), .checksum = {}};
  auto flag = reader.get<std::uint8_t>();
  auto checksum = reader.get<std::uint64_t>();
  if (flag > 1 || (flag == 0 && checksum != 0)) return std::nullopt;
  if (flag == 1) end.checksum = checksum;
  return end;
}

}  // namespace

std::array<std::byte, kByteHeaderSize> data_header(std::size_t length) {
  REQUIRE(length >= 1);
  REQUIRE(length <= kByteDataMax);
  std::uint32_t value = header(ByteFrameKind::data, length);
  return {std::byte(value >> 24), std::byte(value >> 16), std::byte(value >> 8), std::byte(value)};
}

std::string encode(const ByteEnd& end) {
  WireWriter writer;
  writer.put(header(ByteFrameKind::end, kEndSize));
  writer.put(end.length);
  writer.put(static_cast<std::uint8_t>(end.checksum ? 1 : 0));
  writer.put(end.checksum.value_or(0));
  return writer.take();
}

std::string encode(const ByteAbort& abort) {
  std::string_view reason = std::string_view(abort.reason).substr(0, kByteReasonMax);
  WireWriter writer;
  writer.put(header(ByteFrameKind::abort, reason.size()));
  writer.put_raw(reason);
  return writer.take();
}

std::string encode(const ByteClose&) {
  WireWriter writer;
  writer.put(header(ByteFrameKind::close, 0));
  return writer.take();
}

std::string encode(const ByteDone& done) {
  WireWriter writer;
  writer.put(header(ByteFrameKind::done, kDoneSize));
  writer.put(done.length);
  return writer.take();
}

std::unexpected<std::string> ByteFrameDecoder::fail(std::string sentence) {
  failure_ = std::move(sentence);
  return std::unexpected(failure_);
}

std::size_t ByteFrameDecoder::missing() const {
  if (payload_left_ > 0) return 0;
  return (in_body_ ? kByteHeaderSize + body_size_ : kByteHeaderSize) - frame_.size();
}

void ByteFrameDecoder::skip_payload(std::size_t size) {
  REQUIRE(size <= payload_left_);
  payload_left_ -= size;
}

std::expected<std::optional<ByteFrameDecoder::Event>, std::string> ByteFrameDecoder::next(
    std::span<const std::byte>& bytes) {
  if (!failure_.empty()) return std::unexpected(failure_);
  while (!bytes.empty()) {
    if (over_) return fail("bytes behind the last frame of a link");
    if (payload_left_ > 0) {
      Payload payload{bytes.first(std::min(bytes.size(), payload_left_))};
      bytes = bytes.subspan(payload.bytes.size());
      payload_left_ -= payload.bytes.size();
      return payload;
    }
    auto part = bytes.first(std::min(bytes.size(), missing()));
    frame_.append(reinterpret_cast<const char*>(part.data()), part.size());
    bytes = bytes.subspan(part.size());
    if (missing() > 0) continue;
    if (!in_body_) {
      auto read = read_header();
      if (!read) return std::unexpected(read.error());
    }
    if (in_body_ && missing() == 0) return read_body();
  }
  return std::nullopt;
}

std::expected<void, std::string> ByteFrameDecoder::read_header() {
  auto value = WireReader(frame_).get<std::uint32_t>();
  auto kind = static_cast<ByteFrameKind>(value >> 24);
  body_size_ = value & 0xffffff;
  if (!belongs_to(sender_, kind))
    return fail(fmt::format("a frame of kind {}, which a {} never sends", value >> 24,
                            sender_ == Sender::producer ? "producer" : "consumer"));
  if (!length_fits(kind, body_size_))
    return fail(fmt::format("a frame of kind {} with {} bytes", value >> 24, body_size_));
  in_body_ = kind != ByteFrameKind::data;
  if (in_body_) return {};
  payload_left_ = body_size_;
  frame_.clear();
  return {};
}

std::expected<ByteFrameDecoder::Event, std::string> ByteFrameDecoder::read_body() {
  auto kind = static_cast<ByteFrameKind>(frame_.front());
  std::string_view body = std::string_view(frame_).substr(kByteHeaderSize);
  over_ = true;
  switch (kind) {
    case ByteFrameKind::end: {
      auto end = decode_end(body);
      if (!end) return fail("the end of a link with a checksum that is neither given nor absent");
      return *end;
    }
    case ByteFrameKind::abort:
      return ByteAbort{std::string(body)};
    case ByteFrameKind::close:
      return ByteClose{};
    case ByteFrameKind::done:
      return ByteDone{WireReader(body).get<std::uint64_t>()};
    case ByteFrameKind::data:
      break;
  }
  INVARIANT(!"a data frame has no body to keep");
}

}  // namespace sluice::link
