#include "exec/zygote_client.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "exec/zygote.h"

namespace sluice::exec {

std::expected<ZygoteClient, int> ZygoteClient::fork_zygote() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return std::unexpected(errno);
  UniqueFd ours(ends[0]), theirs(ends[1]);
  pid_t pid = ::fork();
  if (pid < 0) return std::unexpected(errno);
  if (pid == 0) {
    ours.reset();
    ::_exit(run_zygote(std::move(theirs)));
  }
  return ZygoteClient(MessageSocket(std::move(ours), MessageSocket::Sending::queues), pid);
}

std::expected<UniqueFd, int> ZygoteClient::fork_spawner(std::uint64_t token, const std::string& cgroup_home) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return std::unexpected(errno);
  UniqueFd ours(ends[0]), theirs(ends[1]);
  int passed[] = {theirs.get()};
  auto sent = socket_.send_with(encode(ZygoteRequest(ForkSpawner{.token = token, .cgroup_home = cgroup_home})), passed);
  if (!sent) return std::unexpected(sent.error());
  return ours;
}

void ZygoteClient::signal_spawner(pid_t pid, int signal) {
  socket_.send(encode(ZygoteRequest(SignalSpawner{.pid = pid, .signal = signal})));
}

std::expected<std::optional<ZygoteEvent>, std::string> ZygoteClient::poll_event() {
  bool open = socket_.receive();
  auto event = socket_.next(reader_);
  if (event && (event->has_value() || open)) return event;
  // Its end of the socket closes only with it, so this does not wait for long.
  while (pid_ != 0 && ::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  return std::unexpected(event ? "it has ended" : event.error());
}

}  // namespace sluice::exec
