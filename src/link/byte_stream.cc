#include "link/byte_stream.h"

#include <fmt/format.h>

#include "base/require.h"

namespace sluice::link {

void ByteProducer::on_data(std::span<const std::byte> bytes) {
  REQUIRE(!last_frame_said_);
  length_ += bytes.size();
  if (all_seen_) checksum_.add(bytes);
}

void ByteProducer::on_unseen_data(std::size_t size) {
  REQUIRE(!last_frame_said_);
  length_ += size;
  all_seen_ = false;
}

std::string ByteProducer::poll_end() {
  REQUIRE(!last_frame_said_);
  last_frame_said_ = true;
  ended_ = true;
  ByteEnd end{.length = length_, .checksum = {}};
  if (all_seen_) end.checksum = checksum_.value();
  return encode(end);
}

std::string ByteProducer::poll_abort(std::string reason) {
  REQUIRE(!last_frame_said_);
  last_frame_said_ = true;
  return encode(ByteAbort{std::move(reason)});
}

std::expected<std::optional<ByteProducer::Answer>, std::string> ByteProducer::on_bytes(
    std::span<const std::byte> bytes) {
  auto event = decoder_.next(bytes);
  if (!event) return std::unexpected(event.error());
  if (!*event) return std::nullopt;
  if (auto* close = std::get_if<ByteClose>(&**event)) return *close;
  if (auto* abort = std::get_if<ByteAbort>(&**event)) return std::move(*abort);
  auto* done = std::get_if<ByteDone>(&**event);
  INVARIANT(done != nullptr);  // the decoder gives no frame of a producer here
  if (!ended_) return std::unexpected("the consumer confirmed an end that was not said");
  if (done->length != length_)
    return std::unexpected(fmt::format("the consumer confirmed {} bytes of {}", done->length, length_));
  return *done;
}

std::expected<std::optional<ByteConsumer::Step>, std::string> ByteConsumer::next(std::span<const std::byte>& bytes) {
  auto event = decoder_.next(bytes);
  if (!event) return std::unexpected(event.error());
  if (!*event) return std::nullopt;
  if (auto* payload = std::get_if<Payload>(&**event)) {
    length_ += payload->bytes.size();
    if (all_seen_) checksum_.add(payload->bytes);
    return *payload;
  }
  if (auto* abort = std::get_if<ByteAbort>(&**event)) return std::move(*abort);
  auto* end = std::get_if<ByteEnd>(&**event);
  INVARIANT(end != nullptr);  // the decoder gives no frame of a consumer here
  auto checked = check(*end);
  if (!checked) return std::unexpected(checked.error());
  ended_ = true;
  return *checked;
}

void ByteConsumer::on_unseen_data(std::size_t size) {
  decoder_.skip_payload(size);
  length_ += size;
  all_seen_ = false;
}

std::string ByteConsumer::poll_done() {
  REQUIRE(ended_);
  return encode(ByteDone{length_});
}

std::expected<ByteEnd, std::string> ByteConsumer::check(const ByteEnd& end) const {
  if (end.length != length_)
    return std::unexpected(fmt::format("the end is said to be after {} bytes, but {} came", end.length, length_));
  if (end.checksum && all_seen_ && *end.checksum != checksum_.value())
    return std::unexpected(fmt::format("the checksum of {} bytes is not that of what was sent", length_));
  return end;
}

}  // namespace sluice::link
