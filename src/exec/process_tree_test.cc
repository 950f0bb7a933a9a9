#include "exec/process_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/unique_fd.h"
#include "exec/subreaper.h"

namespace sluice::exec {
namespace {

// A child whose name has a parenthesis and blanks, with one child of its own; both wait until they are killed.
class ProcessTreeTest : public testing::Test {
 protected:
  ProcessTreeTest() {
    become_subreaper();
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    UniqueFd read_end(ends[0]), write_end(ends[1]);
    child_ = ::fork();
    if (child_ == 0) {
      pid_t grandchild = ::fork();
      if (grandchild == 0) wait_for_the_end();
      (void)!::write(write_end.get(), &grandchild, sizeof grandchild);
      wait_for_the_end();
    }
    write_end.reset();
    if (::read(read_end.get(), &grandchild_, sizeof grandchild_) != sizeof grandchild_) std::abort();
  }
  ~ProcessTreeTest() override { end_all_children({}); }

  [[noreturn]] static void wait_for_the_end() {
    while (true) ::pause();
  }

  pid_t child_ = 0, grandchild_ = 0;
};

TEST_F(ProcessTreeTest, FindsChildrenAndDescendants) {
  auto children = children_of(::getpid());
  EXPECT_NE(std::ranges::find(children, child_), children.end());
  EXPECT_EQ(children_of(child_), std::vector<pid_t>{grandchild_});
  EXPECT_EQ(descendants_of(child_), std::vector<pid_t>{grandchild_});
  EXPECT_TRUE(children_of(grandchild_).empty());
}

TEST_F(ProcessTreeTest, ReadsStatAndIo) {
  ProcessStat stat;
  ASSERT_TRUE(read_process_stat(grandchild_, stat));
  EXPECT_EQ(stat.parent, child_);
  EXPECT_EQ(stat.group, ::getpgrp());
  EXPECT_EQ(stat.session, ::getsid(0));
  ProcessIo io;
  EXPECT_TRUE(read_process_io(child_, io));
  EXPECT_GE(io.write_bytes, sizeof(pid_t));
}

TEST_F(ProcessTreeTest, ReadsIoOfAZombieThroughWhatWasOpenedBefore) {
  UniqueFd opened = open_process_io(child_);
  ::kill(child_, SIGKILL);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOWAIT), 0);
  ProcessIo io;
  ASSERT_TRUE(read_process_io(opened, io)) << "only root could open them now";
  EXPECT_GE(io.write_bytes, sizeof(pid_t));
}

TEST_F(ProcessTreeTest, SignalsTheWholeTree) {
  signal_tree(child_, 0, SIGTERM);
  int status = 0;
  ASSERT_EQ(::waitpid(child_, &status, 0), child_);
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
  ASSERT_EQ(::waitpid(grandchild_, &status, 0), grandchild_) << "it has come to us, the subreaper";
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

TEST_F(ProcessTreeTest, EndsAllChildren) {
  end_all_children({});
  ProcessStat stat;
  EXPECT_FALSE(read_process_stat(child_, stat));
  EXPECT_FALSE(read_process_stat(grandchild_, stat));
}

TEST(ProcessStat, ReadsANameWithParentheses) {
  pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/bash", "bash", "-c", "printf 'a) R 1 (b' > /proc/self/comm; read -r _ < <(kill -STOP $$; echo)",
            nullptr);
    ::_exit(127);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(status)) << "the child could not be prepared";
  ProcessStat stat;
  ASSERT_TRUE(read_process_stat(child, stat));
  EXPECT_EQ(stat.name, "a) R 1 (b");
  EXPECT_EQ(stat.parent, ::getpid());
  EXPECT_EQ(stat.state, 'T');
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  end_all_children({});
}

TEST(ProcessStat, SaysWhenThereIsNoSuchProcess) {
  ProcessStat stat;
  ProcessIo io;
  constexpr pid_t kNobody = 0x7ffffff0;  // above any pid_max
  EXPECT_FALSE(read_process_stat(kNobody, stat));
  EXPECT_FALSE(read_process_io(kNobody, io));
  EXPECT_TRUE(children_of(kNobody).empty());
}

}  // namespace
}  // namespace sluice::exec
