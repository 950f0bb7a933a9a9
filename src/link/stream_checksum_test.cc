#include "link/stream_checksum.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sluice::link {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(StreamChecksum, IsXxh3) {
  // xxhsum -H3 of the same bytes.
  StreamChecksum nothing;
  EXPECT_EQ(nothing.value(), 0x2d06800538d394c2u);
  StreamChecksum abc;
  abc.add(bytes_of("a"));
  abc.add(bytes_of("bc"));
  EXPECT_EQ(abc.value(), 0x78af5f94892f3950u);
}

// Here xxHash is compiled for every processor of its kind, which the one that runs may be better than.
TEST(StreamChecksum, IsTheSameWhateverInstructionsMakeIt) {
  std::string text;
  for (unsigned number = 0; text.size() < 300'000; ++number) text += static_cast<char>(number * 2654435761u >> 24);
  StreamChecksum checksum;
  std::string_view rest = text;
  for (std::size_t step = 1; !rest.empty(); step = step * 3 + 1) {
    checksum.add(bytes_of(rest.substr(0, step)));
    rest.remove_prefix(std::min(step, rest.size()));
    EXPECT_EQ(checksum.value(), XXH3_64bits(text.data(), text.size() - rest.size()));
  }
}

}  // namespace
}  // namespace sluice::link
