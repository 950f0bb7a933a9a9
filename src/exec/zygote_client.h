#pragma once
// The node's end of its zygote: forks it, asks it for spawners, hears of their ends.
// Threading: belongs to one thread.
#include <sys/types.h>

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <utility>

#include "exec/message_socket.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

class ZygoteClient final {
 public:
  /// Forks the zygote. To be called first of all, while this process is small, has one thread and no secrets; standard
  /// streams that are closed must have been filled (EntryState::capture). Errors: errno.
  static std::expected<ZygoteClient, int> fork_zygote();

  ZygoteClient(ZygoteClient&& other) noexcept
      : socket_(std::move(other.socket_)), reader_(std::move(other.reader_)), pid_(std::exchange(other.pid_, 0)) {}
  ZygoteClient& operator=(ZygoteClient&&) = delete;
  /// The zygote exits when its spawners have; nobody waits for it, since a kept launch may go on for days.
  ~ZygoteClient() = default;

  pid_t pid() const { return pid_; }
  /// Readable when `poll_event` has news.
  int descriptor() const { return socket_.descriptor(); }

  /// Asks for a spawner that is connected to the socket that comes back: it can be sent a Launch at once, and is told of
  /// by SpawnerForked or ForkFailed with the same `token`. `cgroup_home`: see ForkSpawner. Errors: errno.
  std::expected<UniqueFd, int> fork_spawner(std::uint64_t token, const std::string& cgroup_home);
  /// Signals a spawner of this zygote; see SignalSpawner.
  void signal_spawner(pid_t pid, int signal);
  bool wants_write() const { return socket_.unsent_bytes() > 0; }
  void flush() { socket_.flush(); }

  /// The next event that has arrived. Errors: the zygote is gone (it has been waited for), and every event that it sent
  /// was returned before.
  std::expected<std::optional<ZygoteEvent>, std::string> poll_event();

 private:
  ZygoteClient(MessageSocket socket, pid_t pid) : socket_(std::move(socket)), pid_(pid) {}

  MessageSocket socket_;
  MessageReader<ZygoteEvent> reader_;
  pid_t pid_;
};

}  // namespace sluice::exec
