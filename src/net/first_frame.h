#pragma once
// The first frame of a connection, in each direction: who speaks which version, and what the connection is for.
//
// The dialler sends a FirstFrame and may go on at once; the other side answers with a FirstAnswer. Majors must match, the
// lower minor is spoken by both. docs/protocol.md gives the bytes.
// Threading: pure values.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::net {

inline constexpr std::string_view kMagic = "SLUI";
inline constexpr std::uint16_t kProtocolMajor = 1;
inline constexpr std::uint16_t kProtocolMinor = 0;

struct ProtocolVersion {
  std::uint16_t major = kProtocolMajor;
  std::uint16_t minor = kProtocolMinor;
  bool operator==(const ProtocolVersion&) const = default;
};

enum class Use : std::uint8_t { calls = 1, bytes = 2, records = 3 };

struct FirstFrame {
  ProtocolVersion version;
  Use use = Use::calls;
  std::string body;  // of the use: empty for calls, a link's claim for bytes (link/link_claim.h)
};

enum class FirstStatus : std::uint8_t { accepted = 0, wrong_version = 1, refused = 2 };

struct FirstAnswer {
  ProtocolVersion version;
  FirstStatus status = FirstStatus::accepted;
  std::string message;  // why not, for people
};

/// Sizes on the wire: magic 4, major 2, minor 2, use or status 1, length 2, then body or message.
inline constexpr std::size_t kFirstHeaderSize = 11;
inline constexpr std::size_t kFirstBodyMax = 1024;

std::string encode(const FirstFrame& frame);
std::string encode(const FirstAnswer& answer);

/// What a prefix of a connection's bytes holds. Nothing: more bytes are needed. `taken` is what the frame used.
/// Errors: no frame of ours, whatever follows; the sentence says why. Another major is no error here.
template <class Frame>
struct Decoded {
  Frame frame;
  std::size_t taken = 0;
};
std::expected<std::optional<Decoded<FirstFrame>>, std::string> decode_first_frame(std::string_view bytes);
std::expected<std::optional<Decoded<FirstAnswer>>, std::string> decode_first_answer(std::string_view bytes);

/// What to answer to `frame`: accepted in the lower minor, or wrong_version with a message.
FirstAnswer answer_to(const FirstFrame& frame);

}  // namespace sluice::net
