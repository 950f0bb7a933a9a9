#pragma once
// Pipes of a program that runs as another user.
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "exec/spawn_protocol.h"

namespace sluice::exec {

/// Whoever opens /dev/stdout or /dev/stderr opens the pipe anew, and needs a right to it (pipe(7), proc(5)). Named pipes
/// and files have owners of their own: they are left alone.
inline void give_pipe(int fd, const RunAs& user) {
  struct statfs system {};
  if (::fstatfs(fd, &system) == 0 && system.f_type == PIPEFS_MAGIC) (void)!::fchown(fd, user.uid, user.gid);
}

}  // namespace sluice::exec
