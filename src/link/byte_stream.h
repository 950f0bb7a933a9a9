#pragma once
// The two ends of a byte link as machines: what a producer owes its consumer, and what each believes of the other.
//
// The producer counts what it sends, says length and checksum at the end, and is finished when the consumer has confirmed
// the same length. The consumer believes an end only if length and checksum are those of what came. Whatever else happens to the
// connection is a cut; that is the shell's to see, which owns the connection.
// Threading: pure; no clock, no I/O.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "link/byte_frames.h"
#include "link/stream_checksum.h"

namespace sluice::link {

class ByteProducer final {
 public:
  /// Bytes of the stream that were put into a data frame.
  void on_data(std::span<const std::byte> bytes);
  /// The same for bytes that the kernel passes on without showing them; the end carries no checksum then.
  void on_unseen_data(std::size_t size);
  /// The last frame of a complete stream. Requires: the first last frame.
  std::string poll_end();
  /// The last frame of a stream that stays incomplete. Requires: the first last frame.
  std::string poll_abort(std::string reason);
  bool last_frame_said() const { return last_frame_said_; }

  using Answer = std::variant<ByteClose, ByteDone, ByteAbort>;
  /// Bytes from the consumer; its one frame, once it is complete.
  /// Errors: no frame of a consumer, or a confirmation of what was not sent.
  std::expected<std::optional<Answer>, std::string> on_bytes(std::span<const std::byte> bytes);

  std::uint64_t length() const { return length_; }

 private:
  std::uint64_t length_ = 0;
  bool all_seen_ = true;
  bool last_frame_said_ = false;
  bool ended_ = false;
  StreamChecksum checksum_;
  ByteFrameDecoder decoder_{ByteFrameDecoder::Sender::consumer};
};

class ByteConsumer final {
 public:
  using Payload = ByteFrameDecoder::Payload;
  using Step = std::variant<Payload, ByteEnd, ByteAbort>;

  /// Takes bytes from the front of `bytes`: a piece of the stream, or the producer's last frame, checked. Nothing: all were
  /// taken, and more are needed. Errors: no frame of a producer, or an end that does not fit what came.
  std::expected<std::optional<Step>, std::string> next(std::span<const std::byte>& bytes);

  /// For data that the kernel passes on (splice(2)): see ByteFrameDecoder. Once used, no checksum can be compared.
  std::size_t payload_left() const { return decoder_.payload_left(); }
  std::size_t missing() const { return decoder_.missing(); }
  void on_unseen_data(std::size_t size);

  /// The frame that says that all was delivered. Requires: the end was given.
  std::string poll_done();

  std::uint64_t length() const { return length_; }

 private:
  std::expected<ByteEnd, std::string> check(const ByteEnd& end) const;

  std::uint64_t length_ = 0;
  bool all_seen_ = true;
  bool ended_ = false;
  StreamChecksum checksum_;
  ByteFrameDecoder decoder_{ByteFrameDecoder::Sender::producer};
};

}  // namespace sluice::link
