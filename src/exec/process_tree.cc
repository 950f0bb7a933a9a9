#include "exec/process_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "base/unique_fd.h"

namespace sluice::exec {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::optional<std::string> read_file(const char* path) {
  UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string content;
  char buffer[4096];
  while (true) {
    ssize_t got = ::read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
  }
}

std::optional<std::string> read_proc(pid_t pid, const char* name) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/%s", static_cast<int>(pid), name);
  return read_file(path);
}

std::vector<pid_t> numbers_in(std::string_view text) {
  std::vector<pid_t> numbers;
  while (!text.empty()) {
    pid_t number = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc()) numbers.push_back(number);
    std::size_t read = static_cast<std::size_t>(end - text.data());
    text.remove_prefix(std::max<std::size_t>(1, read));
  }
  return numbers;
}

std::vector<pid_t> numbered_entries(const char* path) {
  std::vector<pid_t> numbers;
  Directory directory(::opendir(path));
  if (!directory) return numbers;
  while (const dirent* entry = ::readdir(directory.get())) {
    int number = std::atoi(entry->d_name);
    if (number > 0) numbers.push_back(number);
  }
  return numbers;
}

// Kernels without CONFIG_PROC_CHILDREN list no children: every process is asked for its parent instead.
std::vector<pid_t> children_by_scan(pid_t parent) {
  std::vector<pid_t> children;
  for (pid_t pid : all_processes()) {
    ProcessStat stat;
    if (read_process_stat(pid, stat) && stat.parent == parent) children.push_back(pid);
  }
  return children;
}

void signal_descendant(pid_t pid, pid_t parent, int signal) {
  UniqueFd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  ProcessStat stat;
  if (!read_process_stat(pid, stat)) return;
  // Whoever lost its parent meanwhile has come to us, the subreaper.
  if (stat.parent != parent && stat.parent != ::getpid()) return;
  if (handle)
    ::syscall(SYS_pidfd_send_signal, handle.get(), signal, nullptr, 0);
  else
    ::kill(pid, signal);  // out of descriptors: the number was checked a moment ago
}

struct Descendant {
  pid_t pid;
  pid_t parent;
};

std::vector<Descendant> collect(pid_t root) {
  std::vector<Descendant> found;
  std::set<pid_t> seen = {root};  // who is given a new parent while we read would else be found twice
  auto add_children = [&](pid_t parent) {
    for (pid_t child : children_of(parent))
      if (seen.insert(child).second) found.push_back({child, parent});
  };
  add_children(root);
  for (std::size_t i = 0; i < found.size(); ++i) add_children(found[i].pid);
  return found;
}

}  // namespace

bool read_process_stat(pid_t pid, ProcessStat& stat) {
  auto text = read_proc(pid, "stat");
  if (!text) return false;
  // The name stands in parentheses and may hold anything, parentheses too: the last one ends it.
  std::size_t open = text->find('('), close = text->rfind(')');
  if (open == std::string::npos || close == std::string::npos) return false;
  stat.name = text->substr(open + 1, close - open - 1);
  unsigned long long start_ticks = 0;
  int read = std::sscanf(text->c_str() + close + 1,
                         " %c %d %d %d %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &stat.state,
                         &stat.parent, &stat.group, &stat.session, &stat.terminal, &start_ticks);
  stat.start_ticks = start_ticks;
  return read == 6;
}

std::string read_wait_channel(pid_t thread) {
  std::string name = read_proc(thread, "wchan").value_or("");
  return name == "0" ? "" : name;
}

std::vector<pid_t> threads_of(pid_t pid, std::size_t most) {
  char folder[64];
  std::snprintf(folder, sizeof folder, "/proc/%d/task", static_cast<int>(pid));
  std::vector<pid_t> threads = numbered_entries(folder);
  if (threads.size() > most) threads.resize(most);
  return threads;
}

bool read_process_io(pid_t pid, ProcessIo& io) { return read_process_io(open_process_io(pid), io); }

UniqueFd open_process_io(pid_t pid) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/io", static_cast<int>(pid));
  return UniqueFd(::open(path, O_RDONLY | O_CLOEXEC));
}

bool read_process_io(const UniqueFd& opened, ProcessIo& io) {
  char text[512] = {};  // seven short lines
  if (!opened || ::pread(opened.get(), text, sizeof text - 1, 0) <= 0) return false;
  unsigned long long read_bytes = 0, write_bytes = 0;
  if (std::sscanf(text, "rchar: %llu wchar: %llu", &read_bytes, &write_bytes) != 2) return false;
  io = {read_bytes, write_bytes};
  return true;
}

std::vector<pid_t> all_processes() { return numbered_entries("/proc"); }

std::vector<pid_t> children_of(pid_t pid) {
  char folder[64], path[96];
  std::snprintf(folder, sizeof folder, "/proc/%d/task", static_cast<int>(pid));
  std::vector<pid_t> children;
  for (pid_t thread : numbered_entries(folder)) {
    std::snprintf(path, sizeof path, "%s/%d/children", folder, static_cast<int>(thread));
    auto listed = read_file(path);
    if (!listed && errno == ENOENT && ::access(folder, F_OK) == 0) return children_by_scan(pid);
    if (!listed) continue;
    for (pid_t child : numbers_in(*listed)) children.push_back(child);
  }
  return children;
}

std::vector<pid_t> descendants_of(pid_t pid) {
  std::vector<pid_t> pids;
  for (const Descendant& descendant : collect(pid)) pids.push_back(descendant.pid);
  return pids;
}

void signal_tree(pid_t child, pid_t group, int signal) {
  std::vector<Descendant> below = collect(child);
  if (group != 0)
    ::kill(-group, signal);
  else
    ::kill(child, signal);
  for (const Descendant& descendant : below) {
    ProcessStat stat;
    bool reached_with_group = group != 0 && read_process_stat(descendant.pid, stat) && stat.group == group;
    if (!reached_with_group) signal_descendant(descendant.pid, descendant.parent, signal);
  }
}

}  // namespace sluice::exec
