#include "base/text.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Text, LosesItsControlCharacters) {
  EXPECT_EQ(without_controls("a\tb\nc"), "a\tb\nc");
  EXPECT_EQ(without_controls("\x1b[31m red \x7f"), "?[31m red ?");
  EXPECT_EQ(without_controls("\xc2\x9b"
                             "31m \xc3\xa4 \xc2\xb5"),
            "?31m \xc3\xa4 \xc2\xb5");
  EXPECT_EQ(without_controls("\xff\xc2"), "\xff\xc2");
}

}  // namespace
}  // namespace sluice
