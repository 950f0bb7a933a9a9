#include "net/first_frame.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/require.h"
#include "base/wire.h"

namespace sluice::net {
namespace {

std::string encode(ProtocolVersion version, std::uint8_t kind, std::string_view body) {
  REQUIRE(body.size() <= kFirstBodyMax);
  WireWriter writer;
  writer.put_raw(kMagic);
  writer.put(version.major);
  writer.put(version.minor);
  writer.put(kind);
  writer.put_text<std::uint16_t>(body);
  return writer.take();
}

struct Raw {
  ProtocolVersion version;
  std::uint8_t kind = 0;
  std::string_view body;
};

// Refuses at the first byte that is wrong, so that a stranger who sends little is not waited for.
std::expected<std::optional<Raw>, std::string> decode(std::string_view bytes) {
  std::string_view magic = bytes.substr(0, kMagic.size());
  if (magic != kMagic.substr(0, magic.size())) return std::unexpected("the first bytes are not Sluice's protocol");
  if (bytes.size() < kFirstHeaderSize) return std::nullopt;
  WireReader reader(bytes.substr(kMagic.size()));
  Raw raw;
  raw.version.major = reader.get<std::uint16_t>();
  raw.version.minor = reader.get<std::uint16_t>();
  raw.kind = reader.get<std::uint8_t>();
  auto size = reader.get<std::uint16_t>();
  if (size > kFirstBodyMax)
    return std::unexpected(fmt::format("a first frame of {} bytes; at most {} are allowed", size, kFirstBodyMax));
  if (reader.left() < size) return std::nullopt;
  raw.body = reader.get_raw(size);
  return raw;
}

}  // namespace

std::string encode(const FirstFrame& frame) {
  return encode(frame.version, static_cast<std::uint8_t>(frame.use), frame.body);
}

std::string encode(const FirstAnswer& answer) {
  std::string_view message = answer.message;
  return encode(answer.version, static_cast<std::uint8_t>(answer.status), message.substr(0, kFirstBodyMax));
}

std::expected<std::optional<Decoded<FirstFrame>>, std::string> decode_first_frame(std::string_view bytes) {
  auto raw = decode(bytes);
  if (!raw) return std::unexpected(raw.error());
  if (!*raw) return std::nullopt;
  auto use = static_cast<Use>((*raw)->kind);
  bool known = use == Use::calls || use == Use::bytes || use == Use::records;
  if (!known && (*raw)->version.major == kProtocolMajor)
    return std::unexpected(fmt::format("a connection for use {}, which is unknown", (*raw)->kind));
  return Decoded<FirstFrame>{{(*raw)->version, use, std::string((*raw)->body)}, kFirstHeaderSize + (*raw)->body.size()};
}

std::expected<std::optional<Decoded<FirstAnswer>>, std::string> decode_first_answer(std::string_view bytes) {
  auto raw = decode(bytes);
  if (!raw) return std::unexpected(raw.error());
  if (!*raw) return std::nullopt;
  auto status = static_cast<FirstStatus>((*raw)->kind);
  if (status > FirstStatus::refused) return std::unexpected(fmt::format("an answer of status {}", (*raw)->kind));
  return Decoded<FirstAnswer>{{(*raw)->version, status, std::string((*raw)->body)},
                              kFirstHeaderSize + (*raw)->body.size()};
}

FirstAnswer answer_to(const FirstFrame& frame) {
  if (frame.version.major != kProtocolMajor)
    return {.status = FirstStatus::wrong_version,
            .message = fmt::format("this node speaks protocol {}.{}, you speak {}.{}", kProtocolMajor, kProtocolMinor,
                                   frame.version.major, frame.version.minor)};
  return {.version = {kProtocolMajor, std::min(kProtocolMinor, frame.version.minor)}};
}

}  // namespace sluice::net
