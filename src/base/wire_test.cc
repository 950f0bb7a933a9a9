#include "base/wire.h"

#include <gmock/gmock.h>

namespace sluice {
namespace {

TEST(Wire, IntegersAreInNetworkOrder) {
  WireWriter writer;
  writer.put(std::uint32_t{0x01020304});
  EXPECT_EQ(writer.bytes(), std::string("\x01\x02\x03\x04", 4));
}

TEST(Wire, ReadsBackWhatWasWritten) {
  WireWriter writer;
  writer.put(std::uint64_t{1} << 63);
  writer.put_text<std::uint16_t>("name");
  writer.put(std::uint8_t{7});
  WireReader reader(writer.bytes());
  EXPECT_EQ(reader.get<std::uint64_t>(), std::uint64_t{1} << 63);
  EXPECT_EQ(reader.get_text<std::uint16_t>(), "name");
  EXPECT_EQ(reader.get<std::uint8_t>(), 7);
  EXPECT_TRUE(reader.complete());
}

TEST(Wire, EveryTruncationIsSeen) {
  WireWriter writer;
  writer.put_text<std::uint16_t>("name");
  for (std::size_t size = 0; size < writer.size(); ++size) {
    WireReader reader(std::string_view(writer.bytes()).substr(0, size));
    reader.get_text<std::uint16_t>();
    EXPECT_FALSE(reader.complete()) << size;
  }
}

TEST(Wire, BytesLeftOverAreSeen) {
  WireReader reader("ab");
  reader.get<std::uint8_t>();
  EXPECT_FALSE(reader.complete());
  EXPECT_FALSE(reader.failed());
}

}  // namespace
}  // namespace sluice
