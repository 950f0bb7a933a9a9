#include "base/spelling.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice {
namespace {

const std::vector<std::string> kVerbs = {"run", "version", "completion", "help"};

TEST(Spelling, FindsTheNearestName) {
  EXPECT_EQ(nearest_name("rnu", kVerbs), "run");
  EXPECT_EQ(nearest_name("verison", kVerbs), "version");
  EXPECT_EQ(nearest_name("complete", kVerbs), "completion");
  EXPECT_EQ(nearest_name("completoin", kVerbs), "completion");
}

TEST(Spelling, IsSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("frobnicate", kVerbs), "");
  EXPECT_EQ(nearest_name("", kVerbs), "");
  EXPECT_EQ(nearest_name(std::string(1000, 'x'), kVerbs), "");
}

TEST(Spelling, AsksAsASentence) {
  EXPECT_EQ(did_you_mean("hlep", kVerbs), "; did you mean 'help'?");
  EXPECT_EQ(did_you_mean("zzz", kVerbs), "");
}

}  // namespace
}  // namespace sluice
