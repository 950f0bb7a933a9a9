// Any bytes, in any pieces, as what a stage says to a seat on another host, or as what it hears: each is a message or a
// refusal, however the bytes are cut, and a message that was taken is the one that its encoding says. The first byte
// chooses the direction, the second the pieces.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "node/seat_messages.h"
#include "require.h"

namespace {

using namespace sluice::node;
using sluice::fuzz::require;

struct Heard {
  std::string messages;  // as they are encoded, one behind the other
  std::string refusal;   // that ended them
  bool operator==(const Heard&) const = default;
};

template <class Message>
Heard read(std::string_view bytes, std::size_t piece) {
  SeatReader<Message> reader;
  Heard heard;
  while (!bytes.empty()) {
    reader.append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    while (true) {
      auto message = reader.next();
      if (!message) {
        require(!message.error().empty(), "a refusal says what is wrong");
        heard.refusal = message.error();
        return heard;
      }
      if (!*message) break;
      heard.messages += encode(**message);
    }
  }
  return heard;
}

template <class Message>
void check(std::string_view bytes, std::size_t piece) {
  Heard whole = read<Message>(bytes, std::max<std::size_t>(bytes.size(), 1));
  bool is_same = read<Message>(bytes, piece) == whole;
  require(is_same, "how the bytes are cut changes nothing");
  require(bytes.starts_with(whole.messages), "what was taken is what was said");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data + 2), size - 2);
  std::size_t piece = 1 + data[1] % 64;
  if (data[0] % 2 == 0)
    check<SeatRequest>(bytes, piece);
  else
    check<SeatReply>(bytes, piece);
  return 0;
}
