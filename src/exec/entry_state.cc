#include "exec/entry_state.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/unique_fd.h"
#include "exec/process_tree.h"

namespace sluice::exec {
namespace {

void fill_closed_standard_streams() {
  const std::pair<int, int> streams[] = {
      {STDIN_FILENO, O_WRONLY}, {STDOUT_FILENO, O_RDONLY}, {STDERR_FILENO, O_RDWR}};
  for (const auto& [fd, mode] : streams) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // The lowest free number is `fd` itself, since those below it are open by now.
    (void)::open("/dev/null", mode | O_CLOEXEC);
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
