#pragma once
// Control groups (cgroups(7)): a folder of the kernel's whose members can't leave it by fork, setsid or a new name, so
// that what is left in it can be found and killed even if every process that knew of it has died.
//
// A node has a home, named by its id, below its own cgroup; each spawner is born into a group of its own below the home,
// and its programs inherit the membership at no cost. Version 2 is preferred: it kills a group by one write, and a
// process can be born into one; entering a group of version 1 waits for the kernel's readers (6 to 40 ms, measured).
// Where the host gives no right, there are no cgroups, and all that they are for is done by the subreapers.
// Threading: free functions over the file system; none keeps state.
#include <sys/types.h>

#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::exec {

enum class CgroupVersion { v1, v2 };

/// The folder of this process's own cgroup in one hierarchy.
struct CgroupPlace {
  CgroupVersion version = CgroupVersion::v2;
  std::string directory;
  bool operator==(const CgroupPlace&) const = default;
};

/// Where groups can be made, the best hierarchy first: version 2, then version 1's freezer, then its pids.
/// `own` is /proc/self/cgroup, `mounts` /proc/self/mountinfo (proc(5)); what lies outside of the mounts is left out.
std::vector<CgroupPlace> find_cgroups(std::string_view own, std::string_view mounts);
std::vector<CgroupPlace> find_cgroups();

/// Makes the group `name` in the first of `places` that lets us, or takes the one that is there.
/// Errors: why the last one did not; without any place, that too.
std::expected<CgroupPlace, std::string> make_cgroup_home(std::span<const CgroupPlace> places, std::string_view name);

/// Which version `directory` belongs to, if it is a cgroup at all.
std::expected<CgroupVersion, int> cgroup_version(const std::string& directory);

/// Makes one group. Errors: errno.
std::expected<void, int> make_cgroup(const std::string& directory);

/// fork(2) with the child a member of the group from its birth; version 2 only. For a process with one thread.
/// Returns as fork does. Errors: errno; then nothing was forked.
std::expected<pid_t, int> fork_into_cgroup(const std::string& directory);

/// Moves this process. Errors: errno.
std::expected<void, int> enter_cgroup(const std::string& directory);

/// SIGKILL for every process of the group and of the groups below it. On version 1 it freezes them first where it can,
/// and repeats until the group is empty, up to two seconds; on version 2 the kernel does it at once.
/// Errors: errno; ETIMEDOUT if some process would not go (waiting for a device, say).
std::expected<void, int> kill_cgroup(const std::string& directory);

/// Removes the group and those below it, all of which must be without processes. Errors: errno, EBUSY above all.
std::expected<void, int> remove_cgroup(const std::string& directory);

/// Kills and removes the groups below `home` but those in `spared` (folders), then `home` if nothing is left in it.
/// For the start of a node: what an earlier one has left. A home that is not there is no error.
std::expected<void, std::string> end_leftovers(const std::string& home, std::span<const std::string> spared);

}  // namespace sluice::exec
