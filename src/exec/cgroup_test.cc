#include "exec/cgroup.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "exec/processes_for_test.h"
#include "exec/subreaper.h"

namespace sluice::exec {
namespace {

constexpr const char* kHybridMounts =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime shared:7 - cgroup cgroup rw,freezer\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

TEST(CgroupPlaces, PrefersVersion2AndThenTheFreezer) {
  auto places = find_cgroups("8:pids:/a/b\n6:freezer:/\n1:cpu,cpuacct:/\n0::/user.slice\n", kHybridMounts);
  EXPECT_EQ(places, (std::vector<CgroupPlace>{{CgroupVersion::v2, "/sys/fs/cgroup/unified/user.slice"},
                                              {CgroupVersion::v1, "/sys/fs/cgroup/freezer"},
                                              {CgroupVersion::v1, "/sys/fs/cgroup/pids/a/b"}}));
}

TEST(CgroupPlaces, FindsVersion2Alone) {
  auto places = find_cgroups("0::/user.slice/user-1000.slice/session-3.scope\n",
                             "26 25 0:23 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_EQ(places.size(), 1u);
  EXPECT_EQ(places[0].directory, "/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope");
}

TEST(CgroupPlaces, SeesAContainersPartOfTheHierarchy) {
  const char* mounts = "9 8 0:9 /docker/abc /sys/fs/cgroup/freezer ro - cgroup cgroup rw,freezer\n";
  auto inside = find_cgroups("5:freezer:/docker/abc/inner\n", mounts);
  ASSERT_EQ(inside.size(), 1u);
  EXPECT_EQ(inside[0].directory, "/sys/fs/cgroup/freezer/inner");
  EXPECT_TRUE(find_cgroups("5:freezer:/docker/abcdef\n", mounts).empty()) << "another container's";
  EXPECT_TRUE(find_cgroups("5:freezer:/../elsewhere\n", mounts).empty()) << "outside of our namespace";
}

TEST(CgroupPlaces, ReadsBlanksInAMountPoint) {
  auto places = find_cgroups("0::/\n", "26 25 0:23 / /a\\040b rw - cgroup2 cgroup2 rw\n");
  ASSERT_EQ(places.size(), 1u);
  EXPECT_EQ(places[0].directory, "/a b");
}

TEST(CgroupPlaces, FindsNothingInNonsense) {
  EXPECT_TRUE(find_cgroups("", "").empty());
  EXPECT_TRUE(find_cgroups("::::\n\n0::", "1 2 3\n- - -\n\\\\0\n").empty());
}

TEST(Cgroup, SaysWhyThereIsNone) {
  auto none = make_cgroup_home({}, "name");
  ASSERT_FALSE(none.has_value());
  std::vector<CgroupPlace> places = {{CgroupVersion::v2, "/proc/no-such-place"}};
  auto refused = make_cgroup_home(places, "name");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().find("/proc/no-such-place/name"), std::string::npos) << refused.error();
}

// A damaged file in the data directory must not make us touch what is no cgroup.
TEST(Cgroup, TouchesNoOtherFolder) {
  FolderForTest folder;
  std::filesystem::create_directories(folder / "sub");
  EXPECT_FALSE(cgroup_version(folder.path()).has_value());
  EXPECT_FALSE(kill_cgroup(folder.path()).has_value());
  EXPECT_FALSE(end_leftovers(folder.path(), {}).has_value());
  EXPECT_TRUE(std::filesystem::exists(folder / "sub"));
  EXPECT_TRUE(end_leftovers("/no/such/home", {}).has_value());
}

class CgroupTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    become_subreaper();
    std::string wanted = GetParam();
    for (const CgroupPlace& place : find_cgroups()) {
      bool v2 = place.version == CgroupVersion::v2;
      bool fits = wanted == "v2" ? v2 : !v2 && place.directory.find(wanted) != std::string::npos;
      if (!fits || !group_.empty()) continue;
      auto home = make_cgroup_home(std::span(&place, 1), "sluice-test-" + std::to_string(::getpid()));
      if (home) group_ = home->directory;
    }
    if (group_.empty()) GTEST_SKIP() << "this host gives no right to make a cgroup in " << wanted;
  }
  void TearDown() override {
    end_all_children({});
    if (!group_.empty()) {
      EXPECT_TRUE(remove_cgroup(group_).has_value());
    }
  }
  // A member that runs the text and says its number.
  pid_t start_member(std::string text) {
    PipeForTest output;
    pid_t child = ::fork();
    if (child == 0) {
      if (!enter_cgroup(group_)) ::_exit(1);
      ::dup2(output.write_end.get(), 1);
      ::execl("/bin/sh", "sh", "-c", text.c_str(), nullptr);
      ::_exit(1);
    }
    output.write_end.reset();
    return output.read_pid();
  }
  std::string group_;
};

// As spawners do on version 1 that were forked just before their zygote was killed.
TEST_P(CgroupTest, EndsWhatComesInWhileItIsBeingEnded) {
  std::string inner = group_ + "/inner";
  ASSERT_TRUE(make_cgroup(inner).has_value());
  PipeForTest output;
  pid_t forker = ::fork();
  if (forker == 0) {
    for (int i = 0; i < 50; ++i) {
      if (::fork() != 0) continue;
      if (!enter_cgroup(inner)) ::_exit(0);
      (void)!::write(output.write_end.get(), "in\n", 3);
      while (true) ::pause();
    }
    ::_exit(0);
  }
  EXPECT_EQ(output.read_line(), "in");
  auto ended = end_leftovers(group_, {});
  EXPECT_TRUE(ended.has_value()) << ended.error();
  EXPECT_NE(::access(group_.c_str(), F_OK), 0);
  group_.clear();
}

TEST_P(CgroupTest, KillsWhateverIsInIt) {
  pid_t escaped = start_member(std::string(kEscape) + "exec sleep 1000");
  pid_t stopped = start_member("echo $$; kill -STOP $$");
  EXPECT_TRUE(is_alive(escaped) && is_alive(stopped));
  EXPECT_FALSE(remove_cgroup(group_).has_value()) << "it has members";
  auto killed = kill_cgroup(group_);
  EXPECT_TRUE(killed.has_value()) << std::strerror(killed.error());
  EXPECT_TRUE(happens([&] { return !is_alive(escaped) && !is_alive(stopped); }));
}

TEST_P(CgroupTest, KillsAForkBomb) {
  // Twenty at a time, each replaced by its own child as it ends.
  pid_t bomb = start_member(
      "echo $$; exec 2>/dev/null; f() { sleep 0.01; f & }; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 "
      "20; "
      "do f & done; sleep 1000");
  EXPECT_TRUE(is_alive(bomb));
  auto killed = kill_cgroup(group_);
  EXPECT_TRUE(killed.has_value()) << std::strerror(killed.error());
  EXPECT_FALSE(is_alive(bomb) && !happens([&] { return !is_alive(bomb); }));
  EXPECT_TRUE(happens([&] {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return children_of(::getpid()).empty();
  })) << "not one is left";
}

INSTANTIATE_TEST_SUITE_P(Hierarchies, CgroupTest, testing::Values("v2", "freezer", "pids"),
                         [](const auto& hierarchy) { return std::string(hierarchy.param); });

}  // namespace
}  // namespace sluice::exec
