#include "cluster/base64.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::cluster {
namespace {

TEST(Base64, WritesAndReadsTheExamplesOfRfc4648) {
  const std::pair<std::string_view, std::string_view> examples[] = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, text] : examples) {
    EXPECT_EQ(to_base64(SecretText(plain).bytes()).view(), text);
    ASSERT_TRUE(from_base64(text)) << text;
    EXPECT_EQ(from_base64(text)->view(), plain);
  }
}

TEST(Base64, RefusesASecondWayToWriteAValue) {
  for (std::string_view text : {"Zh==", "Zm9=", "Zg", "Zg=", "Zg===", "====", "Z===", "Zm9v\n", " Zm9v", "Zm 9",
                                "Zm9v====", "Zg==Zg==", "Zm9-", "Zm9_", "Zm9\xff"})
    EXPECT_FALSE(from_base64(text)) << text;
}

}  // namespace
}  // namespace sluice::cluster
