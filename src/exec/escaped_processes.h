#pragma once
// What a node that was killed together with its spawners has left, where there was no cgroup to find it by: programs that
// had left their session. Nobody is their parent any more, but they were started with PWD set to a private folder of the
// node's, whose name is random; a shell hands the name on as OLDPWD when it goes elsewhere. A process on a terminal is a
// person's, who looks into such a folder, and is left alone; so is one that has put its environment away.
// Threading: any; reads all of /proc, and waits for what it kills.
#include <span>
#include <string>

namespace sluice::exec {

/// Kills the processes that were started in a folder below `parent` which is none of `spared`. False: some would not go,
/// or are another user's.
bool end_escaped(const std::string& parent, std::span<const std::string> spared);

}  // namespace sluice::exec
