#include "exec/spawner_client.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/require.h"
#include "exec/kept_socket.h"
#include "exec/spawner.h"

namespace sluice::exec {
namespace {

// Nobody whom we ask for news forgets to read them; a bound all the same.
constexpr std::size_t kOutputEventsMax = 65536;

bool means_gone(int error) { return error == EPIPE || error == ECONNRESET; }

}  // namespace

std::expected<SpawnerClient, int> SpawnerClient::fork_spawner(const EntryState& entry, std::span<const int> others) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return std::unexpected(errno);
  UniqueFd ours(ends[0]), theirs(ends[1]);
  pid_t pid = ::fork();
  if (pid < 0) return std::unexpected(errno);
  if (pid == 0) {
    ours.reset();
    for (int other : others) ::close(other);
    ::_exit(run_spawner(std::move(theirs), entry));
  }
  return SpawnerClient(MessageSocket(std::move(ours)), pid, true);
}

SpawnerClient SpawnerClient::connected(UniqueFd socket) {
  return {MessageSocket(std::move(socket), MessageSocket::Sending::queues), 0, false};
}

std::expected<SpawnerClient, AttachError> SpawnerClient::attach(const std::string& directory) {
  auto connection = connect_in(directory);
  if (!connection) {
    int error = errno = connection.error();
    if (error == ENOENT || error == ECONNREFUSED) return std::unexpected(AttachError::nobody);
    return std::unexpected(error == EAGAIN ? AttachError::busy : AttachError::failed);
  }
  SpawnerClient client = connected(std::move(connection->socket));
  client.pid_ = connection->listener_pid;
  client.state_ = State::launched;
  return client;
}

SpawnerClient::~SpawnerClient() {
  if (!is_child_) return;
  socket_ = MessageSocket(UniqueFd());
  wait();
}

std::expected<void, int> SpawnerClient::send_with(const OwnerMessage& message, std::span<const int> descriptors) {
  if (std::holds_alternative<Launch>(message)) {
    REQUIRE(state_ != State::launched);
    socket_.drop_descriptors();  // of an earlier launch, if its events were not listened to
    if (state_ == State::idle) state_ = State::launched;
  }
  if (std::holds_alternative<Detach>(message)) state_ = State::lost;  // it takes no other launch
  auto sent = socket_.send_with(encode(message), descriptors);
  if (sent || means_gone(sent.error())) return {};
  state_ = State::lost;  // some descriptors may have gone ahead, and would be taken for those of the next message
  return sent;
}

std::expected<std::optional<LaunchEvent>, std::string> SpawnerClient::poll_event() {
  bool open = socket_.receive();
  while (true) {
    auto message = socket_.next(reader_);
    if (!message) return lose(message.error());
    if (!message->has_value()) break;
    if (auto* hello = std::get_if<Hello>(&**message); hello != nullptr && hello->version != kSpawnProtocolVersion)
      return lose("it was started by another version of sluice: protocol " + std::to_string(hello->version) +
                  ", and this one speaks " + std::to_string(kSpawnProtocolVersion));
    if (auto event = sort(**message)) return event;
  }
  if (!open) return lose("it has ended");
  return std::optional<LaunchEvent>();
}

std::unexpected<std::string> SpawnerClient::lose(std::string why) {
  state_ = State::lost;
  return std::unexpected(std::move(why));
}

std::optional<LaunchEvent> SpawnerClient::sort(SpawnerMessage& message) {
  return std::visit(
      [this]<class T>(T& item) -> std::optional<LaunchEvent> {
        if constexpr (std::is_same_v<T, Hello>) {
          pid_ = item.pid;
          cgroup_ = std::move(item.cgroup);
          return std::nullopt;
        } else if constexpr (std::is_same_v<T, OutputGrew> || std::is_same_v<T, OutputDropped>) {
          if (output_events_.size() < kOutputEventsMax) output_events_.emplace_back(item);
          return std::nullopt;
        } else {
          if (std::is_same_v<T, Childless> && state_ == State::launched) state_ = State::idle;
          return std::optional<LaunchEvent>(std::move(item));
        }
      },
      message);
}

std::optional<OutputEvent> SpawnerClient::poll_output_event() {
  if (output_events_.empty()) return std::nullopt;
  OutputEvent event = output_events_.front();
  output_events_.pop_front();
  return event;
}

void SpawnerClient::wait() {
  REQUIRE(is_child_);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  is_child_ = false;
  pid_ = 0;
}

}  // namespace sluice::exec
