// Any bytes, in any pieces, as the frames of a byte link: the decoder answers, and what it says holds. The first byte
// chooses the side that is decoded, the second how the rest is cut into pieces.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "link/byte_frames.h"
#include "require.h"

namespace {

using sluice::fuzz::require;
using sluice::link::ByteFrameDecoder;

struct Heard {
  std::string stream;
  int words = 0;
  bool failed = false;
  bool operator==(const Heard&) const = default;
};

void check(const ByteFrameDecoder& decoder) {
  require(decoder.payload_left() <= sluice::link::kByteDataMax, "data is bounded");
  require(decoder.missing() <= sluice::link::kByteHeaderSize + sluice::link::kByteReasonMax, "what is kept is bounded");
  require(decoder.payload_left() == 0 || decoder.missing() == 0, "inside data no header is missing");
}

// Whether it may go on.
bool hear(ByteFrameDecoder& decoder, std::span<const std::byte> bytes, Heard& heard) {
  while (true) {
    std::size_t before = bytes.size();
    auto event = decoder.next(bytes);
    heard.failed = !event;
    if (!event) {
      require(!event.error().empty(), "an error says what is wrong");
      return false;
    }
    check(decoder);
    if (!*event) {
      require(bytes.empty(), "without an event all bytes were taken");
      return true;
    }
    require(bytes.size() < before, "an event takes bytes");
    if (auto* payload = std::get_if<ByteFrameDecoder::Payload>(&**event)) {
      require(!payload->bytes.empty(), "data has bytes");
      heard.stream.append(reinterpret_cast<const char*>(payload->bytes.data()), payload->bytes.size());
    } else {
      require(decoder.over(), "a word is the last frame");
      ++heard.words;
    }
  }
}

Heard decode(ByteFrameDecoder::Sender sender, std::span<const std::byte> bytes, std::size_t piece) {
  ByteFrameDecoder decoder(sender);
  Heard heard;
  while (!bytes.empty()) {
    auto some = bytes.first(std::min(bytes.size(), piece));
    bytes = bytes.subspan(some.size());
    if (!hear(decoder, some, heard)) break;
  }
  return heard;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  auto sender = data[0] % 2 == 0 ? ByteFrameDecoder::Sender::producer : ByteFrameDecoder::Sender::consumer;
  auto bytes = std::as_bytes(std::span(data + 2, size - 2));
  Heard whole = decode(sender, bytes, size);
  Heard pieces = decode(sender, bytes, 1 + data[1] % 16);
  require(whole == pieces, "how the bytes are cut changes nothing");
  require(whole.words <= 1, "a side has one last frame");
  require(whole.stream.size() <= bytes.size(), "no data is made up");
  return 0;
}
