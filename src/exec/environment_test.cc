#include "exec/environment.h"

#include <gtest/gtest.h>

namespace sluice::exec {
namespace {

TEST(Environment, SetsReplacesAndErases) {
  Environment environment({"A=1", "AB=2", "no equals sign"});
  EXPECT_EQ(environment.get("A"), "1");
  EXPECT_EQ(environment.get("AB"), "2");
  EXPECT_EQ(environment.get("B"), std::nullopt);
  environment.set("A", "x=y");
  environment.set("C", "");
  EXPECT_EQ(environment.get("A"), "x=y");
  EXPECT_EQ(environment.get("C"), "");
  environment.erase("AB");
  EXPECT_EQ(environment.entries(), (std::vector<std::string>{"A=x=y", "no equals sign", "C="}));
}

}  // namespace
}  // namespace sluice::exec
