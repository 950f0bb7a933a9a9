#include "node/worker_connection.h"

#include <sys/socket.h>

#include <cerrno>

namespace sluice::node {
namespace {

// A long record's memory is given back.
constexpr std::size_t kOutgoingKept = std::size_t{512} << 10;

}  // namespace

std::expected<std::pair<WorkerConnection, UniqueFd>, int> WorkerConnection::make(std::size_t record_max) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return std::unexpected(errno);
  return std::pair(WorkerConnection(UniqueFd(ends[0]), record_max), UniqueFd(ends[1]));
}

bool WorkerConnection::flush() {
  bool moved = false;
  while (socket_ && unsent() > 0) {
    ssize_t sent = ::send(socket_.get(), outgoing_.data() + sent_, unsent(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return moved;
    sent_ = sent < 0 ? outgoing_.size() : sent_ + static_cast<std::size_t>(sent);
    moved = true;
  }
  sent_ = 0;
  outgoing_.clear();
  if (outgoing_.capacity() > kOutgoingKept) outgoing_.shrink_to_fit();
  return moved;
}

bool WorkerConnection::receive() {
  if (!socket_ || ended_) return false;
  std::span<std::byte> room = reader_.room();
  while (true) {
    ssize_t got = ::recv(socket_.get(), room.data(), room.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return false;
    if (got > 0)
      reader_.on_bytes(static_cast<std::size_t>(got));
    else
      ended_ = true;  // ECONNRESET: it did not read all that was sent to it
    return true;
  }
}

}  // namespace sluice::node
