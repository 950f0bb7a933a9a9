#pragma once
// The owner's end of a spawner: forks it, sends it requests, reads its events.
// Threading: belongs to one thread.
#include <sys/types.h>

#include <expected>
#include <optional>
#include <span>
#include <utility>

#include "exec/entry_state.h"
#include "exec/message_socket.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

class SpawnerClient final {
 public:
  /// Forks the spawner. To be called early, while this process is small and has one thread. Errors: errno.
  static std::expected<SpawnerClient, int> fork_spawner(const EntryState& entry);

  SpawnerClient(SpawnerClient&& other) noexcept
      : socket_(std::move(other.socket_)), reader_(std::move(other.reader_)), pid_(std::exchange(other.pid_, 0)) {}
  SpawnerClient& operator=(SpawnerClient&&) = delete;
  /// Without an owner the spawner ends everything and itself; it is waited for, so that nothing is left of it.
  ~SpawnerClient();

  pid_t pid() const { return pid_; }
  /// Readable when `poll_event` has news.
  int descriptor() const { return socket_.descriptor(); }

  /// Errors: errno, if the descriptors could not be passed; the message was not sent then. A spawner that is gone is
  /// reported by `poll_event`, not here.
  std::expected<void, int> send_with(const OwnerMessage& message, std::span<const int> descriptors);
  void send(const OwnerMessage& message) { socket_.send(encode(message)); }

  /// The next event that has arrived. Errors: the spawner is gone, and every event that it sent was returned before.
  std::expected<std::optional<SpawnerMessage>, std::string> poll_event();

  /// The oldest descriptor that came with an event.
  UniqueFd take_descriptor() { return socket_.take_descriptor(); }

  /// Waits until the spawner process has ended. It ends by itself after Childless, Detach, or the loss of its owner.
  void wait();

 private:
  SpawnerClient(MessageSocket socket, pid_t pid) : socket_(std::move(socket)), pid_(pid) {}

  MessageSocket socket_;
  MessageReader<SpawnerMessage> reader_;
  pid_t pid_;
};

}  // namespace sluice::exec
