#include "exec/user_account.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace sluice::exec {
namespace {

TEST(UserAccount, FindsRootByName) {
  auto root = find_user("root");
  ASSERT_TRUE(root.has_value()) << root.error();
  EXPECT_EQ(root->uid, 0u);
  EXPECT_EQ(root->gid, 0u);
  EXPECT_THAT(root->groups, testing::Contains(0u));
  EXPECT_FALSE(root->home.empty());
  EXPECT_FALSE(root->shell.empty());
  RunAs identity = root->identity();
  EXPECT_EQ(identity.uid, 0u);
  EXPECT_EQ(identity.groups.size(), root->groups.size());
}

TEST(UserAccount, SaysWhoIsMissing) {
  auto nobody = find_user("no-such-user-here");
  ASSERT_FALSE(nobody.has_value());
  EXPECT_THAT(nobody.error(), testing::HasSubstr("no-such-user-here"));
}

TEST(UserAccount, KnowsWhoWeAre) {
  auto own = own_user();
  if (!own) GTEST_SKIP() << "this user has no entry: " << own.error();
  EXPECT_EQ(own->uid, ::geteuid());
}

}  // namespace
}  // namespace sluice::exec
