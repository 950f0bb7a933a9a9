#include "exec/private_folder.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "exec/processes_for_test.h"

namespace sluice::exec {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr FolderOwner kNobody{.uid = 65534, .gid = 65534};

bool exists(const std::string& path) { return ::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

std::string make(const std::string& parent, std::optional<FolderOwner> owner = std::nullopt) {
  auto made = make_private_folder(parent, owner);
  EXPECT_TRUE(made.has_value()) << made.error().what;
  return made.value_or("");
}

void write_file(const std::string& path) { std::ofstream(path) << "text"; }

// Runs a shell text as nobody in the folder.
void as_nobody(const std::string& folder, const std::string& text) {
  pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(kNobody.gid) != 0 || ::setuid(kNobody.uid) != 0 || ::chdir(folder.c_str()) != 0) ::_exit(1);
    ::execl("/bin/sh", "sh", "-c", text.c_str(), nullptr);
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << text;
}

TEST(PrivateFolder, IsFreshAndNobodyElses) {
  FolderForTest parent;
  std::string first = make(parent.path()), second = make(parent.path());
  EXPECT_NE(first, second);
  struct stat status {};
  ASSERT_EQ(::stat(first.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  EXPECT_EQ(status.st_uid, ::geteuid());
}

TEST(PrivateFolder, SaysWhatItCouldNotMake) {
  auto made = make_private_folder("/no/such/folder", std::nullopt);
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().error, ENOENT);
  EXPECT_THAT(made.error().what, HasSubstr("/no/such/folder"));
}

TEST(PrivateFolder, GoesWithAllThatIsInIt) {
  FolderForTest parent;
  std::string folder = make(parent.path());
  std::filesystem::create_directories(folder + "/a/b/c");
  std::filesystem::create_directories(folder + "/a/d");
  for (const char* name : {"/file", "/a/file", "/a/b/c/file", "/.hidden", "/a/d/back\\slash \n"})
    write_file(folder + name);
  ASSERT_EQ(::mkfifo((folder + "/fifo").c_str(), 0600), 0);
  auto removed = remove_private_folder(folder, std::nullopt);
  EXPECT_TRUE(removed.has_value()) << removed.error().what;
  EXPECT_FALSE(exists(folder));
  EXPECT_TRUE(remove_private_folder(folder, std::nullopt).has_value()) << "it is gone already";
}

TEST(PrivateFolder, NeverFollowsALink) {
  FolderForTest parent, outside;
  write_file(outside / "precious");
  std::string folder = make(parent.path());
  std::filesystem::create_directories(folder + "/a");
  for (const char* link : {"/link", "/a/link"}) std::filesystem::create_symlink(outside.path(), folder + link);
  std::filesystem::create_symlink(outside / "precious", folder + "/file");
  EXPECT_TRUE(remove_private_folder(folder, std::nullopt).has_value());
  EXPECT_FALSE(exists(folder));
  EXPECT_TRUE(exists(outside / "precious"));
  std::filesystem::create_symlink(outside.path(), folder);
  auto removed = remove_private_folder(folder, std::nullopt);
  ASSERT_FALSE(removed.has_value()) << "a link in place of the folder";
  EXPECT_THAT(removed.error().what, HasSubstr(folder));
  EXPECT_TRUE(exists(outside / "precious"));
}

TEST(PrivateFolder, RefusesNamesThatAreNoFolderBelowAnother) {
  for (const char* name : {"/", "..", "/tmp/..", "/tmp/.", ""})
    EXPECT_FALSE(remove_private_folder(name, std::nullopt).has_value()) << name;
}

// Deeper than any path may be long, and than a process has descriptors.
TEST(PrivateFolder, GoesHoweverDeepItIs) {
  constexpr int kDepth = 700;
  FolderForTest parent;
  std::string folder = make(parent.path());
  UniqueFd deepest(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < kDepth; ++i) {
    ASSERT_EQ(::mkdirat(deepest.get(), "deeper", 0700), 0);
    deepest.reset(::openat(deepest.get(), "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit few = before;
  few.rlim_cur = 32;
  ::setrlimit(RLIMIT_NOFILE, &few);
  auto removed = remove_private_folder(folder, std::nullopt);
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_TRUE(removed.has_value()) << removed.error().what;
  EXPECT_FALSE(exists(folder));
}

class OthersFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can make a folder for another user";
    ::chmod(parent_.path().c_str(), 0711);
    folder_ = make(parent_.path(), kNobody);
  }
  FolderForTest parent_;
  std::string folder_;
};

TEST_F(OthersFolderTest, BelongsToItsUser) {
  struct stat status {};
  ASSERT_EQ(::stat(folder_.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, kNobody.uid);
  EXPECT_EQ(status.st_gid, kNobody.gid);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
}

TEST_F(OthersFolderTest, GoesAcrossFoldersWithoutAnyRight) {
  as_nobody(folder_, "mkdir -p a/b/c d && touch a/b/c/file d/file && chmod 0 a/b/c a/b a d && chmod 0 .");
  auto removed = remove_private_folder(folder_, kNobody);
  EXPECT_TRUE(removed.has_value()) << removed.error().what;
  EXPECT_FALSE(exists(folder_));
}

TEST_F(OthersFolderTest, LeavesWhatItsUserCouldNotRemove) {
  as_nobody(folder_, "mkdir own && touch own/file");
  // As if root had worked in the user's folder, which he then moved into the private one.
  std::filesystem::create_directories(folder_ + "/own/roots/inner");
  write_file(folder_ + "/own/roots/precious");
  auto removed = remove_private_folder(folder_, kNobody);
  ASSERT_FALSE(removed.has_value());
  EXPECT_EQ(removed.error().error, EACCES);
  EXPECT_THAT(removed.error().what, HasSubstr("/own/roots"));
  EXPECT_FALSE(exists(folder_ + "/own/file"));
  EXPECT_TRUE(exists(folder_ + "/own/roots/precious"));
}

TEST_F(OthersFolderTest, GivesTheThreadItsRightsBack) {
  std::vector<gid_t> before(64);
  before.resize(static_cast<std::size_t>(::getgroups(64, before.data())));
  EXPECT_TRUE(remove_private_folder(folder_, kNobody).has_value());
  std::vector<gid_t> after(64);
  after.resize(static_cast<std::size_t>(::getgroups(64, after.data())));
  EXPECT_EQ(after, before);
  write_file(parent_ / "roots");
  struct stat status {};
  ASSERT_EQ(::stat((parent_ / "roots").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 0u);
}

// A process of the user's swaps a folder and a link as fast as it can, and makes new ones, while the folder is removed.
TEST_F(OthersFolderTest, IsNotFooledByAUserWhoChangesItMeanwhile) {
  FolderForTest outside;
  ::chmod(outside.path().c_str(), 0777);
  std::filesystem::create_directory(outside / "roots");
  write_file(outside / "roots/precious");
  as_nobody(outside.path(), "mkdir others && touch others/precious");
  int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  pid_t attacker = ::fork();
  if (attacker == 0) {
    if (::setgid(kNobody.gid) != 0 || ::setuid(kNobody.uid) != 0) ::_exit(1);
    while (true) {
      (void)!::mkdirat(folder, "swapped", 0700);
      (void)!::renameat(folder, "swapped", folder, "aside");
      (void)!::symlinkat((outside / "roots").c_str(), folder, "swapped");
      (void)!::renameat2(folder, "swapped", folder, "aside", RENAME_EXCHANGE);
      (void)!::unlinkat(folder, "swapped", AT_REMOVEDIR);
      (void)!::unlinkat(folder, "aside", 0);
    }
  }
  for (int i = 0; i < 20; ++i) (void)!remove_private_folder(folder_, kNobody, 20ms).has_value();
  ::kill(attacker, SIGKILL);
  ::waitpid(attacker, nullptr, 0);
  ::close(folder);
  EXPECT_TRUE(exists(outside / "roots/precious"));
  EXPECT_TRUE(exists(outside / "others/precious"));
  auto removed = remove_private_folder(folder_, kNobody);
  EXPECT_TRUE(removed.has_value()) << removed.error().what;
  EXPECT_FALSE(exists(folder_));
}

TEST(PrivateFolder, GivesUpOnATreeThatIsTooLarge) {
  FolderForTest parent;
  std::string folder = make(parent.path());
  for (int i = 0; i < 50; ++i) write_file(folder + "/" + std::to_string(i));
  auto removed = remove_private_folder(folder, std::nullopt, -1s);
  ASSERT_FALSE(removed.has_value());
  EXPECT_EQ(removed.error().error, ETIMEDOUT);
  EXPECT_THAT(removed.error().what, HasSubstr(folder));
}

}  // namespace
}  // namespace sluice::exec
