#pragma once
// The owner's end of a spawner: sends it requests, reads its events.
//
// Three ways lead to one: forking it (embedded `sluice run`; it is our child and is waited for), a lease of a
// SpawnerPool, and attaching to one whose launch outlived its owner. The last two never wait: what the kernel does not
// take at once is sent by `flush`, when `wants_write` says so and the descriptor is writable.
// Threading: belongs to one thread.
#include <sys/types.h>

#include <deque>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>

#include "exec/entry_state.h"
#include "exec/message_socket.h"
#include "exec/spawn_protocol.h"

namespace sluice::exec {

/// What happens to a launch.
using LaunchEvent = std::variant<Started, LaunchFailed, Exited, Childless, Survey>;
/// News of its captured streams.
using OutputEvent = std::variant<OutputGrew, OutputDropped>;

enum class AttachError {
  nobody,  // no spawner answers: it has ended, or was killed
  busy,    // too many connect at once: try again in a moment
  failed,  // errno says why
};

class SpawnerClient final {
 public:
  /// Forks the spawner. To be called early, while this process is small and has one thread. `others`: the descriptors of
  /// spawners that this process has already; one that kept these open would keep those from learning that their owner is
  /// gone. Errors: errno.
  static std::expected<SpawnerClient, int> fork_spawner(const EntryState& entry, std::span<const int> others = {});
  /// Talks to a spawner of a zygote, at the other end of `socket`.
  static SpawnerClient connected(UniqueFd socket);
  /// Takes over the kept launch of `directory`; an owner that it still has is dropped. Its events so far come first:
  /// Started, then an Exited for each program that has ended.
  static std::expected<SpawnerClient, AttachError> attach(const std::string& directory);

  SpawnerClient(SpawnerClient&& other) noexcept
      : socket_(std::move(other.socket_)),
        reader_(std::move(other.reader_)),
        output_events_(std::move(other.output_events_)),
        pid_(std::exchange(other.pid_, 0)),
        is_child_(std::exchange(other.is_child_, false)),
        state_(other.state_),
        cgroup_(std::move(other.cgroup_)) {}
  SpawnerClient& operator=(SpawnerClient&&) = delete;
  /// Without an owner the spawner ends everything and itself, but for a launch that survives its owner. A spawner that
  /// we have forked is waited for, so that nothing is left of it.
  ~SpawnerClient();

  /// 0: not known yet.
  pid_t pid() const { return pid_; }
  /// The folder of its cgroup; empty: none, or not known yet.
  const std::string& cgroup() const { return cgroup_; }
  /// Readable when `poll_event` has news.
  int descriptor() const { return socket_.descriptor(); }

  /// Errors: errno, if the descriptors could not be passed; the message was not sent then. A spawner that is gone is
  /// reported by `poll_event`, not here.
  std::expected<void, int> send_with(const OwnerMessage& message, std::span<const int> descriptors);
  void send(const OwnerMessage& message) { (void)send_with(message, {}); }
  bool wants_write() const { return socket_.unsent_bytes() > 0; }
  void flush() { socket_.flush(); }

  /// The next event that has arrived. Errors: the spawner is gone, and every event that it sent was returned before; or
  /// it is of a version that we can't talk to.
  std::expected<std::optional<LaunchEvent>, std::string> poll_event();
  /// News of captured streams that `poll_event` has met on its way.
  std::optional<OutputEvent> poll_output_event();

  /// The oldest descriptor that came with an event.
  UniqueFd take_descriptor() { return socket_.take_descriptor(); }

  /// Can take a Launch: the last one was answered by Childless, and nothing has gone wrong.
  bool is_idle() const { return state_ == State::idle; }
  /// It has said Hello.
  bool is_ready() const { return pid_ != 0; }
  bool is_lost() const { return state_ == State::lost; }

  /// Waits until the spawner process, a child of ours, has ended. It ends by itself after Childless, Detach, or the
  /// loss of its owner.
  void wait();

 private:
  enum class State { idle, launched, lost };
  SpawnerClient(MessageSocket socket, pid_t pid, bool is_child)
      : socket_(std::move(socket)), pid_(pid), is_child_(is_child) {}
  std::unexpected<std::string> lose(std::string why);
  std::optional<LaunchEvent> sort(SpawnerMessage& message);

  MessageSocket socket_;
  MessageReader<SpawnerMessage> reader_;
  std::deque<OutputEvent> output_events_;
  pid_t pid_;
  bool is_child_;
  State state_ = State::idle;
  std::string cgroup_;
};

}  // namespace sluice::exec
