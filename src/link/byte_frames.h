#pragma once
// The frames of a byte link: what the two ends of one ordered byte stream say to each other. docs/protocol-links.md gives
// the bytes.
//
// The producer sends data, then exactly one last frame: end or abort. The consumer sends exactly one frame: close, done or
// abort. After its last frame a side says nothing more. A connection that ends before that is cut, and a cut is never an
// end of file.
// A data frame may be longer than any buffer: the decoder gives its bytes as they come and keeps none of them. What it
// keeps is one header, or one frame that is not data, which is small.
// Threading: pure values.
#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace sluice::link {

/// A header is the frame's kind in one byte and the length of its body in three.
inline constexpr std::size_t kByteHeaderSize = 4;
/// The longest body of a data frame: the largest pipe that an ordinary user may have (pipe(7)) is passed on as one frame.
inline constexpr std::size_t kByteDataMax = std::size_t{1} << 20;
inline constexpr std::size_t kByteReasonMax = 1024;

enum class ByteFrameKind : std::uint8_t { data = 1, end = 2, abort = 3, close = 4, done = 5 };

/// The producer's: the stream is complete.
struct ByteEnd {
  std::uint64_t length = 0;  // of all data before
  std::optional<std::uint64_t>
      checksum;  // of all data before (stream_checksum.h); none if the kernel passed it on unseen
  bool operator==(const ByteEnd&) const = default;
};
/// Either side's: it failed or was cancelled, and the stream stays incomplete.
struct ByteAbort {
  std::string reason;  // for people
  bool operator==(const ByteAbort&) const = default;
};
/// The consumer's: nobody reads any more.
struct ByteClose {
  bool operator==(const ByteClose&) const = default;
};
/// The consumer's: the whole stream was delivered, and its end is known.
struct ByteDone {
  std::uint64_t length = 0;
  bool operator==(const ByteDone&) const = default;
};

/// What stands in front of `length` bytes of the stream. Requires: from 1 to kByteDataMax.
std::array<std::byte, kByteHeaderSize> data_header(std::size_t length);
std::string encode(const ByteEnd& end);
/// A reason that is too long is cut.
std::string encode(const ByteAbort& abort);
std::string encode(const ByteClose& close);
std::string encode(const ByteDone& done);

/// Reads the frames of one side.
class ByteFrameDecoder final {
 public:
  enum class Sender { producer, consumer };
  /// Bytes of the stream, inside what `next` was given.
  struct Payload {
    std::span<const std::byte> bytes;
  };
  using Event = std::variant<Payload, ByteEnd, ByteAbort, ByteClose, ByteDone>;

  explicit ByteFrameDecoder(Sender sender) : sender_(sender) {}

  /// Takes bytes from the front of `bytes` until it has something to say. Nothing: all were taken, and more are needed.
  /// Errors: a sentence. No frame of this protocol or side, too long, or behind the side's last one; the connection is of
  /// no use then, and every later call fails too.
  std::expected<std::optional<Event>, std::string> next(std::span<const std::byte>& bytes);

  /// How many bytes of the stream follow before the next header.
  std::size_t payload_left() const { return payload_left_; }
  /// `size` of them were passed on without being shown to this decoder. Requires: at most payload_left().
  void skip_payload(std::size_t size);
  /// How many bytes belong to a header or a small frame for certain: who reads no more than these never takes a byte of the
  /// stream by mistake. 0 inside data.
  std::size_t missing() const;
  /// The side has sent its last frame.
  bool over() const { return over_; }

 private:
  std::expected<void, std::string> read_header();
  std::expected<Event, std::string> read_body();
  std::unexpected<std::string> fail(std::string sentence);

  Sender sender_;
  std::string frame_;  // what came of a header and of the body of a small frame
  std::size_t body_size_ = 0;
  bool in_body_ = false;
  std::size_t payload_left_ = 0;
  bool over_ = false;
  std::string failure_;
};

}  // namespace sluice::link
