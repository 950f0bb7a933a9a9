#include "exec/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "base/unique_fd.h"

namespace sluice::exec {
namespace {

constexpr mode_t kFolderMode = 0755;
// Version 1 kills process by process; a fork bomb is caught by the freezer, and one without a freezer by patience.
constexpr int kKillRounds = 200;
constexpr int kRoundMs = 10;
constexpr int kFreezeRounds = 50;
// Groups within groups: a program of root's can make some of its own.
constexpr int kDepthMax = 32;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

std::vector<std::string> groups_in(const std::string& directory) {
  std::vector<std::string> groups;
  std::unique_ptr<DIR, CloseDirectory> opened(::opendir(directory.c_str()));
  if (!opened) return groups;
  while (const dirent* entry = ::readdir(opened.get())) {
    if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
    groups.push_back(directory + "/" + entry->d_name);
  }
  return groups;
}

std::expected<std::string, int> read_control(const std::string& directory, const char* name) {
  UniqueFd file(::open((directory + "/" + name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return std::unexpected(errno);
  std::string content;
  char buffer[4096];
  while (true) {
    ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(errno);
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
  }
}

std::expected<void, int> write_control(const std::string& directory, const char* name, std::string_view value) {
  UniqueFd file(::open((directory + "/" + name).c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return std::unexpected(errno);
  if (::write(file.get(), value.data(), value.size()) < 0) return std::unexpected(errno);
  return {};
}

std::vector<pid_t> members_of(const std::string& directory) {
  std::vector<pid_t> pids;
  auto listed = read_control(directory, "cgroup.procs");
  if (!listed) return pids;
  for (const char* next = listed->c_str(); *next != '\0';) {
    char* end = nullptr;
    long pid = std::strtol(next, &end, 10);
    if (end == next) break;
    if (pid > 0) pids.push_back(static_cast<pid_t>(pid));
    next = *end == '\n' ? end + 1 : end;
  }
  return pids;
}

// A number that was read may belong to another process by now: the handle is opened first, then the list read again.
void kill_members(const std::string& directory) {
  std::vector<std::pair<pid_t, UniqueFd>> handles;
  for (pid_t pid : members_of(directory))
    handles.emplace_back(pid, UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
  std::vector<pid_t> still = members_of(directory);
  for (const auto& [pid, handle] : handles)
    if (handle && std::ranges::find(still, pid) != still.end())
      ::syscall(SYS_pidfd_send_signal, handle.get(), SIGKILL, nullptr, 0);
}

// The group itself and all below it, deepest last.
std::vector<std::string> tree_of(const std::string& directory) {
  std::vector<std::string> tree = {directory};
  std::size_t level_begins = 0;
  for (int depth = 0; depth < kDepthMax && level_begins < tree.size(); ++depth) {
    std::size_t level_ends = tree.size();
    for (std::size_t i = level_begins; i < level_ends; ++i)
      for (std::string& group : groups_in(tree[i])) tree.push_back(std::move(group));
    level_begins = level_ends;
  }
  return tree;
}

bool is_empty(const std::string& directory) {
  return std::ranges::all_of(tree_of(directory), [](const std::string& group) { return members_of(group).empty(); });
}

void pause_round() { ::poll(nullptr, 0, kRoundMs); }

// Frozen processes can't fork, and keep their numbers. Without a freezer this does nothing.
void freeze(const std::string& directory) {
  if (!write_control(directory, "freezer.state", "FROZEN")) return;
  for (int round = 0; round < kFreezeRounds; ++round) {
    auto state = read_control(directory, "freezer.state");
    if (!state || state->starts_with("FROZEN")) return;
    pause_round();
  }
}

std::expected<void, int> kill_by_rounds(const std::string& directory) {
  for (int round = 0; round < kKillRounds; ++round) {
    if (is_empty(directory)) return {};
    freeze(directory);
    for (const std::string& group : tree_of(directory)) kill_members(group);
    (void)write_control(directory, "freezer.state", "THAWED");
    if (is_empty(directory)) return {};
    pause_round();
  }
  return std::unexpected(ETIMEDOUT);
}

// The kernel counts a dying process as a member until it is a zombie. On version 1 a spawner enters its group by itself,
// so one that was forked just before its zygote was killed may come in behind the kill: each round kills anew.
std::expected<void, int> end_cgroup(const std::string& group) {
  for (int round = 0; round < kKillRounds; ++round) {
    if (auto killed = kill_cgroup(group); !killed) return killed;
    auto removed = remove_cgroup(group);
    if (removed || removed.error() != EBUSY) return removed;
    pause_round();
  }
  return std::unexpected(EBUSY);
}

}  // namespace

std::expected<CgroupVersion, int> cgroup_version(const std::string& directory) {
  struct statfs system {};
  if (::statfs(directory.c_str(), &system) != 0) return std::unexpected(errno);
  if (system.f_type == CGROUP2_SUPER_MAGIC) return CgroupVersion::v2;
  if (system.f_type == CGROUP_SUPER_MAGIC) return CgroupVersion::v1;
  return std::unexpected(EINVAL);
}

std::expected<void, int> make_cgroup(const std::string& directory) {
  if (::mkdir(directory.c_str(), kFolderMode) != 0) return std::unexpected(errno);
  return {};
}

std::expected<CgroupPlace, std::string> make_cgroup_home(std::span<const CgroupPlace> places, std::string_view name) {
  std::string why = "no cgroup file system is mounted";
  for (const CgroupPlace& place : places) {
    CgroupPlace home{place.version, place.directory + "/" + std::string(name)};
    auto made = make_cgroup(home.directory);
    if ((made || made.error() == EEXIST) && ::access((home.directory + "/cgroup.procs").c_str(), W_OK) == 0)
      return home;
    why = "cannot make the cgroup " + home.directory + ": " + std::strerror(made ? errno : made.error());
  }
  return std::unexpected(why);
}

std::expected<pid_t, int> fork_into_cgroup(const std::string& directory) {
  UniqueFd group(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group) return std::unexpected(errno);
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(group.get());
  long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return std::unexpected(errno);
  return static_cast<pid_t>(pid);
}

std::expected<void, int> enter_cgroup(const std::string& directory) {
  return write_control(directory, "cgroup.procs", "0");
}

std::expected<void, int> kill_cgroup(const std::string& directory) {
  auto version = cgroup_version(directory);
  if (!version) return std::unexpected(version.error());
  // cgroup.kill came with Linux 5.14.
  if (*version == CgroupVersion::v2 && write_control(directory, "cgroup.kill", "1")) return {};
  return kill_by_rounds(directory);
}

std::expected<void, int> remove_cgroup(const std::string& directory) {
  std::vector<std::string> tree = tree_of(directory);
  std::expected<void, int> result;
  for (auto group = tree.rbegin(); group != tree.rend(); ++group)
    if (::rmdir(group->c_str()) != 0) result = std::unexpected(errno);
  return result;
}

std::expected<void, std::string> end_leftovers(const std::string& home, std::span<const std::string> spared) {
  auto version = cgroup_version(home);
  if (!version && version.error() == ENOENT) return {};
  if (!version) return std::unexpected("cannot look into the cgroup " + home + ": " + std::strerror(version.error()));
  std::string failures;
  bool all_gone = true;
  for (const std::string& group : groups_in(home)) {
    if (std::ranges::find(spared, group) != spared.end()) {
      all_gone = false;
      continue;
    }
    auto ended = end_cgroup(group);
    if (!ended) failures += (failures.empty() ? "" : "; ") + group + ": " + std::strerror(ended.error());
  }
  if (!failures.empty()) return std::unexpected("cannot end what an earlier node has left: " + failures);
  if (all_gone) (void)remove_cgroup(home);
  return {};
}

}  // namespace sluice::exec
