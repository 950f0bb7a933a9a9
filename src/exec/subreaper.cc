#include "exec/subreaper.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <vector>

#include "exec/process_tree.h"

namespace sluice::exec {
namespace {
constexpr int kLookAgainMs = 5;
}

void become_subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

void end_all_children(std::span<const pid_t> spared) {
  // The kernel's list may miss a child while another one ends (proc(5)), so it must be empty twice.
  for (int empty = 0; empty < 2;) {
    std::vector<pid_t> children = children_of(::getpid());
    std::erase_if(children, [&](pid_t child) { return std::ranges::find(spared, child) != spared.end(); });
    empty = children.empty() ? empty + 1 : 0;
    for (pid_t child : children) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, WNOHANG);
    }
    ::poll(nullptr, 0, kLookAgainMs);  // for those that are killed, and not dead yet
  }
}

}  // namespace sluice::exec
