// Any bytes as the first frame of a connection, and as the answer to one: each decoder answers, and what it took can be
// written again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "net/first_frame.h"
#include "require.h"

namespace {

using namespace sluice::net;
using sluice::fuzz::require;

template <class Result>
void check(std::string_view bytes, const Result& decoded) {
  if (!decoded) {
    require(!decoded.error().empty(), "an error says what is wrong");
  } else if (*decoded) {
    require((*decoded)->taken <= bytes.size(), "a frame lies in the bytes");
    require(encode((*decoded)->frame) == bytes.substr(0, (*decoded)->taken), "a frame comes back as it was sent");
  } else {
    require(bytes.size() < kFirstHeaderSize + kFirstBodyMax, "a frame has an end");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto frame = decode_first_frame(bytes);
  check(bytes, frame);
  if (frame && *frame) require(!encode(answer_to((*frame)->frame)).empty(), "every frame has an answer");
  check(bytes, decode_first_answer(bytes));
  return 0;
}
