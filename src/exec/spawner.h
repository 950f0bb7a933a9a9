#pragma once
// The spawner: a small single-threaded process without a network that is the parent and subreaper of every program, so
// that whatever happens to its owner the whole tree can be ended and reaped, without any right beyond the user's own.
//
// It is forked from the owner before anything is loaded, lives in the same session but in a process group of its own (a
// `kill -9` of the owner's group must not take it along), and obeys `spawn_protocol.h`.
//
//   idle --Launch--> running --last program ended, no child left--> exits (Childless)
//                       |  owner gone, or EndAll, or LaunchFailed
//                       v
//                    ending: SIGKILL for every child until there is none --> exits (Childless)
//
// Threading: one thread; every signal is blocked, SIGCHLD is read from a descriptor.
#include "base/unique_fd.h"
#include "exec/entry_state.h"

namespace sluice::exec {

/// Serves the owner at the other end of `socket` until no process is left. Does not return to the caller's code path:
/// the caller must `_exit` with the result.
int run_spawner(UniqueFd socket, const EntryState& entry);

}  // namespace sluice::exec
