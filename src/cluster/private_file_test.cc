#include "cluster/private_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "cluster/temporary_folder_for_test.h"

namespace sluice::cluster {
namespace {

using ::testing::HasSubstr;

mode_t mode_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 07777;
}

TEST(PrivateFile, IsMadeWithModeWhateverTheUmask) {
  TemporaryFolder folder;
  for (mode_t mask : {mode_t{0}, mode_t{0777}}) {
    const std::string path = folder.path("key" + std::to_string(mask));
    const mode_t before = ::umask(mask);
    EXPECT_TRUE(create_private_file(path, "x"));
    ::umask(before);
    EXPECT_EQ(mode_of(path), 0600u);
  }
}

TEST(PrivateFile, IsNeverOverwrittenByAnother) {
  TemporaryFolder folder;
  const std::string path = folder.path("key");
  ASSERT_TRUE(create_private_file(path, "first"));
  auto again = create_private_file(path, "second");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, FileErrorKind::exists);
  EXPECT_EQ(folder.read("key"), "first");
}

TEST(PrivateFile, ALinkInItsPlaceIsNotFollowed) {
  TemporaryFolder folder;
  std::filesystem::create_symlink(folder.path("elsewhere"), folder.path("key"));
  EXPECT_FALSE(create_private_file(folder.path("key"), "x"));
  EXPECT_FALSE(std::filesystem::exists(folder.path("elsewhere")));
}

TEST(PrivateFile, IsReplacedWhole) {
  TemporaryFolder folder;
  const std::string path = folder.path("cache");
  ASSERT_TRUE(replace_private_file(path, "first"));
  folder.write("cache.new", "left by a writer that was killed");
  ASSERT_TRUE(replace_private_file(path, "second"));
  EXPECT_EQ(folder.read("cache"), "second");
  EXPECT_EQ(mode_of(path), 0600u);
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

TEST(PrivateFile, WhatCanNotBeReplacedStays) {
  TemporaryFolder folder;
  std::filesystem::create_directory(folder.path("taken"));
  EXPECT_FALSE(replace_private_file(folder.path("taken"), "x"));
  EXPECT_FALSE(std::filesystem::exists(folder.path("taken.new")));
  EXPECT_FALSE(replace_private_file(folder.path("no/such/folder"), "x"));
}

TEST(PrivateFile, OthersMayNotReadASecret) {
  TemporaryFolder folder;
  const std::string path = folder.write("key", "x");
  for (mode_t mode : {0640u, 0604u, 0620u, 0601u}) {
    ::chmod(path.c_str(), mode);
    auto read = read_private_file(path, {.size_max = 10});
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, FileErrorKind::exposed);
    EXPECT_THAT(read.error().message, HasSubstr("chmod 600 " + path));
    EXPECT_TRUE(read_private_file(path, {.size_max = 10, .content = FileContent::open}));
  }
  ::chmod(path.c_str(), 0400);
  EXPECT_EQ(read_private_file(path, {.size_max = 10})->view(), "x");
}

TEST(PrivateFile, SaysWhatCanNotBeRead) {
  TemporaryFolder folder;
  EXPECT_EQ(read_private_file(folder.path("none"), {.size_max = 9}).error().kind, FileErrorKind::missing);
  EXPECT_EQ(read_private_file(folder.write("large", "0123456789"), {.size_max = 9}).error().kind,
            FileErrorKind::malformed);
  EXPECT_EQ(read_private_file(folder.path(), {.size_max = 9}).error().kind, FileErrorKind::malformed);
  ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_private_file(folder.path("pipe"), {.size_max = 9}).error().kind, FileErrorKind::malformed);
}

}  // namespace
}  // namespace sluice::cluster
