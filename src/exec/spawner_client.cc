#include "exec/spawner_client.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "exec/spawner.h"

namespace sluice::exec {

std::expected<SpawnerClient, int> SpawnerClient::fork_spawner(const EntryState& entry) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return std::unexpected(errno);
  UniqueFd ours(ends[0]), theirs(ends[1]);
  pid_t pid = ::fork();
  if (pid < 0) return std::unexpected(errno);
  if (pid == 0) {
    ours.reset();
    ::_exit(run_spawner(std::move(theirs), entry));
  }
  return SpawnerClient(MessageSocket(std::move(ours)), pid);
}

SpawnerClient::~SpawnerClient() {
  if (pid_ == 0) return;
  socket_ = MessageSocket(UniqueFd());
  wait();
}

std::expected<void, int> SpawnerClient::send_with(const OwnerMessage& message, std::span<const int> descriptors) {
  auto passed = socket_.send_descriptors(descriptors);
  bool gone = !passed && (passed.error() == EPIPE || passed.error() == ECONNRESET);
  if (!passed && !gone) return passed;
  socket_.send(encode(message));
  return {};
}

std::expected<std::optional<SpawnerMessage>, std::string> SpawnerClient::poll_event() {
  bool open = socket_.receive();
  auto event = socket_.next(reader_);
  if (event && !event->has_value() && !open) return std::unexpected("it has ended");
  return event;
}

void SpawnerClient::wait() {
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
}

}  // namespace sluice::exec
