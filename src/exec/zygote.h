#pragma once
// The zygote: a process that a node forks first of all, before it loads anything or has a thread, and that forks its
// spawners later, when the node itself is large, has threads and holds keys.
//
// It has a session of its own (neither the node's terminal nor a kill of its process group reaches it), one thread, no
// network, /dev/null as its standard streams, no other descriptor of the node's, `/` as its folder, default signal
// dispositions and no blocked signal for programs. It is the subreaper of its spawners: what a spawner that was killed
// leaves comes to the zygote, which kills it, and the spawner's cgroup with it.
//
// When its owner is gone it exits as soon as it has no spawner; those whose launch survives its owner go on below it.
// When it is killed its spawners live on and obey their own owners.
//
// Threading: one thread; every signal is blocked, SIGCHLD is read from a descriptor.
#include "base/unique_fd.h"

namespace sluice::exec {

/// Serves the owner at the other end of `socket`. Also returns in the spawners that it forks; the caller must `_exit`
/// with the result.
int run_zygote(UniqueFd socket);

}  // namespace sluice::exec
