#pragma once
// What `sluice` found when it was started, and what the programs that it starts must find too: the signal mask and the
// dispositions that are inherited across execve(2).
#include <csignal>
#include <vector>

namespace sluice::exec {

struct EntryState {
  sigset_t mask{};
  bool child_ignored = false;  // SIGCHLD was SIG_IGN: a parent that does not want to wait
  pid_t process_group = 0;
  bool has_terminal = false;  // a controlling terminal, whatever stdin is
  // What the process had started before it became `sluice` (a shell's `job & exec sluice`): it is none of ours.
  std::vector<pid_t> children;

  bool ignores(int signal) const;

  /// Reads the state; then puts SIGCHLD back to its default, without which nobody could wait for a child, and opens
  /// /dev/null (close-on-exec) in place of a standard stream that is closed, so that no descriptor of ours gets its
  /// number and a program still finds it closed. So do we: stdin can't be read then, and stdout not be written (EBADF).
  static EntryState capture();
};

}  // namespace sluice::exec
