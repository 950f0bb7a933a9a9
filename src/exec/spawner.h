#pragma once
// The spawner: a small single-threaded process without a network that is the parent and subreaper of every program, so
// that whatever happens to its owner the whole tree can be ended and reaped, without any right beyond the user's own.
//
// An embedded run forks one from the owner before anything is loaded; it lives in the same session but in a process
// group of its own (a `kill -9` of the owner's group must not take it along). A node's are forked by its zygote and
// pooled: they serve one launch after another. All obey `spawn_protocol.h`.
//
//   idle --Launch--> running --last program ended, no child left--> exits (Childless); pooled: idle again
//                       |  owner gone, or EndAll, or LaunchFailed
//                       v
//                    ending: SIGKILL for every child until there is none --> exits (Childless); pooled: idle again
//
// A launch that is kept and survives its owner goes on without one. Its programs' ends and output are written down
// (launch_keeper.h), another owner may attach at any time, and what the programs leave running is ended by the rules of
// stray_patience.h. Such a spawner never goes back to a pool that it has lost: it exits when nothing is left.
//
// Threading: one thread; every signal is blocked, SIGCHLD is read from a descriptor.
#include <string>

#include "base/unique_fd.h"
#include "exec/entry_state.h"

namespace sluice::exec {

struct SpawnerOptions {
  enum class Life { one_launch, pooled };
  Life life = Life::one_launch;
  std::string cgroup;  // the folder of the one that it is in, if it has one of its own
};

/// Serves the owner at the other end of `socket` until no process is left. Does not return to the caller's code path:
/// the caller must `_exit` with the result.
int run_spawner(UniqueFd socket, const EntryState& entry, SpawnerOptions options = {});

}  // namespace sluice::exec
