#include "base/time.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

using namespace std::chrono_literals;

TEST(Duration, ReadsUnitsAndSums) {
  EXPECT_EQ(parse_duration("10"), 10s);
  EXPECT_EQ(parse_duration("10s"), 10s);
  EXPECT_EQ(parse_duration("0"), 0s);
  EXPECT_EQ(parse_duration("500ms"), 500ms);
  EXPECT_EQ(parse_duration("1m30s"), 90s);
  EXPECT_EQ(parse_duration("1.5h"), 90min);
  EXPECT_EQ(parse_duration("2d"), 48h);
}

TEST(Duration, RefusesWhatIsNoDuration) {
  for (const char* text : {"", "s", "-1s", "+1s", "1x", "1s2", "1e9", "inf", "nan", "1 s", "10y", "99999999999999d"}) {
    auto read = parse_duration(text);
    ASSERT_FALSE(read.has_value()) << text;
    EXPECT_NE(read.error().find("is not a duration"), std::string::npos) << read.error();
  }
}

TEST(Duration, IsPrintedForAPerson) {
  EXPECT_EQ(format_duration(85ms), "85 ms");
  EXPECT_EQ(format_duration(1200ms), "1.2 s");
  EXPECT_EQ(format_duration(185s), "3 min 5 s");
  EXPECT_EQ(format_duration(130min), "2 h 10 min");
}

}  // namespace
}  // namespace sluice
