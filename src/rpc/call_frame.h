#pragma once
// The frames of the calls on one connection: how they lie in bytes, and which bytes are none.
//
//   length u32, of the payload | type u8 | flags u8 | stream u32 | payload
//
// Integers are in network order. A frame of an unknown type is skipped if its flags say `ignorable`, else it is an error,
// as is an unknown flag of a known type: a later minor version may add either, and speaks it only to those who know it.
// docs/protocol.md explains the frames, tests/wire/ holds recorded ones.
// Threading: pure values.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "net/peer.h"
#include "rpc/limits.h"
#include "rpc/status.h"

namespace sluice::rpc {

/// One call of a connection: odd, ascending, chosen by the client. 0 is no call.
enum class StreamId : std::uint32_t {};

enum class FrameType : std::uint8_t {
  request = 1,  // client: a call begins
  message = 2,  // both: a message, or a piece of one
  done = 3,     // client: no message follows
  end = 4,      // server: the call has ended, with this status
  cancel = 5,   // client: the caller does not want the answer any more
  credit = 6,   // both: so many bytes of messages may be sent beyond those that were allowed before
};

namespace frame_flag {
inline constexpr std::uint8_t more = 0x01;       // message: the next message frame of the call continues this message
inline constexpr std::uint8_t last = 0x02;       // message of a client: as if `done` followed
inline constexpr std::uint8_t timeout = 0x04;    // request: there is a timeout
inline constexpr std::uint8_t on_behalf = 0x08;  // request: the call is passed on for somebody else
inline constexpr std::uint8_t ignorable = 0x80;  // unknown types only
}  // namespace frame_flag

inline constexpr std::size_t kFrameHeaderSize = 10;
inline constexpr std::size_t kFramePayloadMax = std::size_t{1} << 20;

/// For whom a gateway or a node passes a call on.
struct OnBehalf {
  net::Role role = net::Role::read;
  std::string name;
  bool operator==(const OnBehalf&) const = default;
};

struct CallRequest {
  std::string method;  // "sluice.v1.Flows/Run"
  std::optional<std::chrono::milliseconds> timeout;
  std::optional<OnBehalf> on_behalf;
  bool operator==(const CallRequest&) const = default;
};

/// A frame of a known type, with flags that it may have and a payload of a size that it may have.
struct Frame {
  FrameType type = FrameType::request;
  std::uint8_t flags = 0;
  StreamId stream{};
  std::string_view payload;

  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
};

/// Printable ASCII without blanks, not too long.
bool valid_method_name(std::string_view name);

void put_frame(std::string& into, const Frame& frame);
/// Timeouts are sent in milliseconds, from 0 to 2^32 - 1; those outside are cut to that. So is a name that is too long.
/// Requires: a valid name.
void put_request(std::string& into, StreamId stream, const CallRequest& request);
void put_end(std::string& into, StreamId stream, const Status& status);
void put_credit(std::string& into, StreamId stream, std::uint32_t bytes);

/// Errors: a sentence that says what no peer of ours would send. An unknown code of a status is read as `unknown`.
std::expected<CallRequest, std::string> decode_request(const Frame& frame);
std::expected<Status, std::string> decode_end(const Frame& frame);
std::expected<std::uint32_t, std::string> decode_credit(const Frame& frame);

/// Splits a byte stream into frames. What is wrong with a header is said before its payload is waited for, so that
/// nothing is kept for it.
class FrameReader final {
 public:
  /// `bytes` must stay until `next` has given nothing, or an error.
  void append(std::string_view bytes);
  /// The next frame, valid until the next call; nothing if more bytes are needed. Errors: no frame of the protocol; the
  /// reader must not be used again then.
  std::expected<std::optional<Frame>, std::string> next();

  /// Bytes that are kept until their frame is complete.
  std::size_t held() const { return buffer_.size(); }

 private:
  void keep_rest();

  std::string buffer_;       // of a frame that has begun
  std::string_view unread_;  // into buffer_, or into what was appended
};

}  // namespace sluice::rpc
