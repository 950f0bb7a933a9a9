#include "exec/entry_state.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "exec/process_tree.h"

namespace sluice::exec {
namespace {

void fill_closed_standard_streams() {
  for (int fd : {0, 1, 2}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest free number is `fd` itself, since those below it are open by now.
    (void)::open("/dev/null", O_RDWR | O_CLOEXEC);
  }
}

}  // namespace

bool EntryState::ignores(int signal) const {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

EntryState EntryState::capture() {
  EntryState state;
  ::sigprocmask(SIG_SETMASK, nullptr, &state.mask);
  state.child_ignored = state.ignores(SIGCHLD);
  if (state.child_ignored) ::signal(SIGCHLD, SIG_DFL);
  fill_closed_standard_streams();
  state.process_group = ::getpgrp();
  state.children = children_of(::getpid());
  state.has_terminal = static_cast<bool>(UniqueFd(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)));
  return state;
}

}  // namespace sluice::exec
