#include "exec/subreaper.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "exec/process_tree.h"

namespace sluice::exec {
namespace {
constexpr int kLookAgainMs = 5;
}

void become_subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

void end_all_children() {
  while (true) {
    for (pid_t child : children_of(::getpid())) ::kill(child, SIGKILL);
    pid_t reaped = ::waitpid(-1, nullptr, WNOHANG);
    if (reaped < 0 && errno == ECHILD) return;
    if (reaped == 0) ::poll(nullptr, 0, kLookAgainMs);  // killed, and not dead yet
  }
}

}  // namespace sluice::exec
