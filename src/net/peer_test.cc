#include "net/peer.h"

#include <gtest/gtest.h>

namespace sluice::net {
namespace {

TEST(Role, ComesBackFromItsName) {
  EXPECT_EQ(all_roles().size(), 10u);
  for (Role role : all_roles()) EXPECT_EQ(role_from(role_name(role)), role);
  EXPECT_EQ(role_name(Role::gateway), "gateway");
  EXPECT_FALSE(role_from("root"));
  EXPECT_FALSE(role_from(""));
}

}  // namespace
}  // namespace sluice::net
