#include "base/quantity.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Quantity, PrintsThreeFiguresInBinaryUnits) {
  EXPECT_EQ(format_bytes(ByteCount{0}), "0 B");
  EXPECT_EQ(format_bytes(ByteCount{999}), "999 B");
  EXPECT_EQ(format_bytes(ByteCount{1536}), "1.50 KiB");
  EXPECT_EQ(format_bytes(ByteCount{12ull << 20}), "12.0 MiB");
  EXPECT_EQ(format_bytes(ByteCount{1023ull << 20}), "1.00 GiB");
  EXPECT_EQ(format_bytes(ByteCount{UINT64_MAX}), "16.0 EiB");
}

TEST(Quantity, PrintsRates) { EXPECT_EQ(format_rate(1536.7), "1.50 KiB/s"); }

TEST(ByteCount, ReadsSizesWithBinaryUnits) {
  EXPECT_EQ(parse_byte_count("512")->value, 512u);
  EXPECT_EQ(parse_byte_count("64K")->value, 65536u);
  EXPECT_EQ(parse_byte_count("1.5MiB")->value, 1572864u);
  EXPECT_EQ(parse_byte_count("2g")->value, 2147483648u);
}

TEST(ByteCount, RefusesWhatIsNoSize) {
  for (const char* text : {"", "K", "-1", "10X", "10KK", "1e300", "nan"}) EXPECT_FALSE(parse_byte_count(text)) << text;
}

}  // namespace
}  // namespace sluice
