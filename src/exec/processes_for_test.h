#pragma once
// For the tests of this folder: programs to start, processes to look at, conditions to wait for, and a node's pool.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "exec/process_tree.h"
#include "exec/spawner_client.h"
#include "exec/spawner_pool.h"

namespace sluice::exec {

inline constexpr auto kTestDeadline = std::chrono::seconds(20);

inline Program shell(std::string text) { return {.path = "/bin/sh", .arguments = {"sh", "-c", std::move(text)}}; }

/// A shell text that leaves a process behind which has forked twice, left the session and ignores what can be ignored;
/// it says its number.
inline constexpr const char* kEscape =
    "(setsid sh -c 'trap \"\" TERM HUP INT; echo $$; exec sleep 1000 >/dev/null 2>&1' &) ; ";

inline bool is_alive(pid_t pid) {
  ProcessStat stat;
  return read_process_stat(pid, stat) && stat.state != 'Z' && stat.state != 'X';
}

/// Waits until `condition` holds; false after the deadline.
inline bool happens(const std::function<bool()>& condition) {
  auto until = std::chrono::steady_clock::now() + kTestDeadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    ::poll(nullptr, 0, 2);
  }
  return true;
}

/// The next event of the wanted kind; others before it are dropped. Nothing if the spawner is lost, or after the deadline.
template <class Event>
std::optional<Event> await(SpawnerClient& client) {
  auto until = std::chrono::steady_clock::now() + kTestDeadline;
  while (std::chrono::steady_clock::now() < until) {
    if (client.wants_write()) client.flush();
    auto event = client.poll_event();
    if (!event) return std::nullopt;
    if (event->has_value() && std::holds_alternative<Event>(**event)) return std::get<Event>(**event);
    if (event->has_value()) continue;
    pollfd readable{.fd = client.descriptor(), .events = POLLIN, .revents = 0};
    ::poll(&readable, 1, 100);
  }
  return std::nullopt;
}

/// True when the spawner is gone and all that it said has been read.
inline bool is_lost(SpawnerClient& client) {
  return happens([&] {
    while (true) {
      auto event = client.poll_event();
      if (!event) return true;
      if (!event->has_value()) return false;
    }
  });
}

struct PipeForTest {
  UniqueFd read_end, write_end;
  PipeForTest() {
    int ends[2];
    if (::pipe2(ends, 02000000 /* O_CLOEXEC */) != 0) std::abort();
    read_end.reset(ends[0]);
    write_end.reset(ends[1]);
  }
  /// Up to a line end, the end of the stream, or the deadline.
  std::string read_line() const {
    std::string line;
    char c = 0;
    pollfd readable{.fd = read_end.get(), .events = POLLIN, .revents = 0};
    while (::poll(&readable, 1, std::chrono::milliseconds(kTestDeadline).count()) > 0 &&
           ::read(read_end.get(), &c, 1) == 1 && c != '\n')
      line += c;
    return line;
  }
  pid_t read_pid() const {
    std::string line = read_line();
    return line.empty() ? 0 : std::stoi(line);
  }
};

/// A launch of one shell text whose output goes to `output`.
inline Launch to_pipe(std::string text) {
  Launch launch{.programs = {shell(std::move(text))}, .environment = {"PATH=/bin:/usr/bin:/sbin:/usr/sbin"}};
  launch.programs[0].output = Stream::passed;
  return launch;
}

/// A folder that is gone with the test.
class FolderForTest final {
 public:
  FolderForTest() {
    std::string path = std::filesystem::temp_directory_path() / "sluice_exec_test_XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) std::abort();
    path_ = path;
  }
  FolderForTest(const FolderForTest&) = delete;
  FolderForTest& operator=(const FolderForTest&) = delete;
  ~FolderForTest() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::size_t open_descriptors(pid_t pid) {
  std::error_code error;
  std::size_t count = 0;
  for (auto entry = std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
    ++count;
  return count;
}

}  // namespace sluice::exec
