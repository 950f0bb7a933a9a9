#include "exec/escaped_processes.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iterator>
#include <string_view>

#include "base/unique_fd.h"
#include "exec/process_tree.h"

namespace sluice::exec {
namespace {

// What is killed is gone within one round; more are for what was born meanwhile.
constexpr int kRounds = 50;
constexpr int kRoundMs = 10;
constexpr std::string_view kNames[] = {"PWD=", "OLDPWD="};

// The folder below `parent` that `path` is, or lies in; empty: it lies elsewhere.
std::string_view folder_below(std::string_view parent, std::string_view path) {
  if (!path.starts_with(parent) || path.size() <= parent.size() + 1 || path[parent.size()] != '/') return {};
  return path.substr(0, path.find('/', parent.size() + 1));
}

bool was_started_below(pid_t pid, const std::string& parent, std::span<const std::string> spared) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/environ", std::ios::binary);
  std::string environment{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  bool found = false;
  for (std::string_view rest = environment; !rest.empty();) {
    std::string_view variable = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), variable.size() + 1));
    for (std::string_view name : kNames) {
      if (!variable.starts_with(name)) continue;
      std::string_view folder = folder_below(parent, variable.substr(name.size()));
      if (std::ranges::find(spared, folder) != spared.end()) return false;
      found |= !folder.empty();
    }
  }
  return found;
}

// A dying process has no environment any more, so it is not found again.
bool kill_if_escaped(pid_t pid, const std::string& parent, std::span<const std::string> spared) {
  // The handle pins the process that is looked at.
  UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  ProcessStat stat;
  bool ours = handle && pid != ::getpid() && read_process_stat(pid, stat) && stat.terminal == 0;
  if (!ours || !was_started_below(pid, parent, spared)) return false;
  ::syscall(SYS_pidfd_send_signal, handle.get(), SIGKILL, nullptr, 0);
  return true;
}

}  // namespace

bool end_escaped(const std::string& parent, std::span<const std::string> spared) {
  for (int round = 0; round < kRounds; ++round) {
    bool found = false;
    for (pid_t pid : all_processes()) found |= kill_if_escaped(pid, parent, spared);
    if (!found) return true;
    ::poll(nullptr, 0, kRoundMs);
  }
  return false;
}

}  // namespace sluice::exec
