#include "node/worker_connection.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
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

// The kernel's queue grows by what is sent and what each piece costs, and shrinks by what is read.
bool WorkerConnection::flush() {
  if (reads_ || unsent() == 0) return send_some() > 0;
  std::size_t before = queued(), sent = send_some(), after = queued();
  reads_ = before < queued_ || after < before + sent;
  queued_ = after;
  return sent > 0;
}

void WorkerConnection::watch() {
  reads_ = false;
  queued_ = 0;
}

bool WorkerConnection::is_unread() const { return !reads_ && queued_ > 0 && queued() >= queued_; }

std::size_t WorkerConnection::queued() const {
  int bytes = 0;
  return ::ioctl(socket_.get(), SIOCOUTQ, &bytes) == 0 ? static_cast<std::size_t>(bytes) : 0;
}

std::size_t WorkerConnection::send_some() {
  std::size_t all = 0;
  while (socket_ && unsent() > 0) {
    ssize_t sent = ::send(socket_.get(), outgoing_.data() + sent_, unsent(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return all;
    std::size_t taken = sent < 0 ? unsent() : static_cast<std::size_t>(sent);
    sent_ += taken;
    all += taken;
  }
  sent_ = 0;
  outgoing_.clear();
  if (outgoing_.capacity() > kOutgoingKept) outgoing_.shrink_to_fit();
  return all;
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
