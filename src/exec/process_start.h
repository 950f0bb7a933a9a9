#pragma once
// Starts one program with clone(2) and execve(2), sharing memory until the exec (CLONE_VM | CLONE_VFORK), which costs
// the same however large the parent is.
#include <sys/types.h>

#include <expected>
#include <string>
#include <vector>

#include "exec/entry_state.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

struct StartOptions {
  int input = 0;  // descriptors of the caller; 0, 1 and 2 themselves mean: as they are
  int output = 1;
  int error = 2;
  pid_t process_group = 0;  // to join; 0: lead an own one
  const std::string& directory;
  const std::vector<std::string>& environment;
  const EntryState& entry;
  const RunAs* run_as = nullptr;  // to become before the folder is entered; null: the caller's own user
};

struct StartError {
  int error = 0;       // errno
  const char* action;  // see LaunchFailed
};

/// The child gets a parent-death signal (SIGKILL), the mask and dispositions of `entry`, and `_` set to the path, as
/// shells do. Every other descriptor that it must not have is close-on-exec. All signals must be blocked by the caller.
/// Another user's program may still gain rights as that user may (sudo, setuid files): PR_SET_NO_NEW_PRIVS is not set,
/// since whoever may run commands as that user could use these anyway, and stages do.
std::expected<pid_t, StartError> start_program(const Program& program, const StartOptions& options);

}  // namespace sluice::exec
