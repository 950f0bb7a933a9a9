#include "exec/escaped_processes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "exec/processes_for_test.h"

namespace sluice::exec {
namespace {

class EscapedProcesses : public testing::Test {
 protected:
  ~EscapedProcesses() override {
    for (pid_t pid : started_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }

  // A program without a terminal that is started with this variable.
  pid_t start(std::string variable) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    UniqueFd read_end(ends[0]), write_end(ends[1]);
    std::vector<char*> environment = {variable.data(), nullptr};
    char program[] = "/bin/sleep", seconds[] = "1000";
    char* arguments[] = {program, seconds, nullptr};
    pid_t pid = ::fork();
    if (pid == 0) {
      ::setsid();
      ::execve(program, arguments, environment.data());
      ::_exit(127);
    }
    started_.push_back(pid);
    write_end.reset();
    char byte;
    EXPECT_EQ(::read(read_end.get(), &byte, 1), 0) << "execve closes the pipe";
    return pid;
  }

 private:
  std::vector<pid_t> started_;
};

// Of this process alone: tests run beside each other.
const std::string kParent = "/nowhere-" + std::to_string(::getpid());

TEST_F(EscapedProcesses, AreThoseThatWereStartedBelowTheFolder) {
  pid_t inside = start("PWD=" + kParent + "/ab12"), deeper = start("PWD=" + kParent + "/ab12/x");
  pid_t gone_on = start("OLDPWD=" + kParent + "/ab12");
  EXPECT_TRUE(end_escaped(kParent, {}));
  for (pid_t pid : {inside, deeper, gone_on}) EXPECT_TRUE(happens([pid] { return !is_alive(pid); }));
}

TEST_F(EscapedProcesses, AreNotThoseOfAFolderThatIsSparedNorOthers) {
  pid_t spared = start("PWD=" + kParent + "/ab12/x"), beside = start("PWD=" + kParent + "-2/ab12");
  pid_t above = start("PWD=" + kParent), other = start("OTHER_PWD=" + kParent + "/ab12");
  std::vector<std::string> folders = {kParent + "/ab12"};
  EXPECT_TRUE(end_escaped(kParent, folders));
  for (pid_t pid : {spared, beside, above, other}) EXPECT_TRUE(is_alive(pid));
}

}  // namespace
}  // namespace sluice::exec
