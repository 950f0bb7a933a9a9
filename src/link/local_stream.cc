#include "link/local_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <string>

#include "base/require.h"

namespace sluice::link {
namespace {

bool ready(int descriptor, short events) {
  pollfd look{.fd = descriptor, .events = events, .revents = 0};
  return ::poll(&look, 1, 0) > 0;
}

// A master has no name of its own: to open it again would make a new pseudo-terminal.
bool is_terminal_master(int descriptor) {
  unsigned number = 0;
  return ::ioctl(descriptor, TIOCGPTN, &number) == 0;
}

// The same pipe or terminal with an open file description of our own.
UniqueFd open_again(int descriptor, LocalStream::Direction direction) {
  int access = direction == LocalStream::Direction::from ? O_RDONLY : O_WRONLY;
  std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  return UniqueFd(::open(path.c_str(), access | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
}

}  // namespace

std::expected<LocalStream::Kind, int> LocalStream::kind_of(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return std::unexpected(errno);
  if (S_ISFIFO(status.st_mode)) return Kind::pipe;
  if (S_ISSOCK(status.st_mode)) return Kind::socket;
  if (S_ISCHR(status.st_mode)) return ::isatty(descriptor) != 0 ? Kind::terminal : Kind::device;
  return Kind::file;
}

std::expected<LocalStream, int> LocalStream::open(UniqueFd descriptor, Direction direction, bool alone) {
  LocalStream stream;
  auto kind = kind_of(descriptor.get());
  if (!kind) return std::unexpected(kind.error());
  stream.kind_ = *kind;
  stream.descriptor_ = std::move(descriptor);
  auto stopped = stream.stop_blocking(direction, alone);
  if (!stopped) return std::unexpected(stopped.error());
  return stream;
}

std::expected<void, int> LocalStream::stop_blocking(Direction direction, bool alone) {
  if (alone) {
    int flags = ::fcntl(descriptor_.get(), F_GETFL);
    if (flags < 0 || ::fcntl(descriptor_.get(), F_SETFL, flags | O_NONBLOCK) != 0) return std::unexpected(errno);
    return {};
  }
  shared_ = true;
  bool can_open_again = kind_ == Kind::pipe || (kind_ == Kind::terminal && !is_terminal_master(descriptor_.get()));
  if (!can_open_again) return {};
  UniqueFd own = open_again(descriptor_.get(), direction);
  // fifo(7): to open a pipe for writing without blocking fails if it has no reader.
  if (!own && errno == ENXIO && kind_ == Kind::pipe) return std::unexpected(EPIPE);
  if (!own) return {};
  descriptor_ = std::move(own);
  shared_ = false;
  return {};
}

bool LocalStream::in_background() const {
  if (kind_ != Kind::terminal) return false;
  pid_t foreground = ::tcgetpgrp(descriptor_.get());  // fails if it is not the terminal that controls us
  return foreground > 0 && foreground != ::getpgrp();
}

LocalStream::Outcome LocalStream::read_failure(int error) const {
  if (error == EAGAIN || error == EINTR) return {Status::would_block};
  // termios(3): so a read fails in the background, where SIGTTIN is not taken; we may have gone there just now.
  if (error == EIO && in_background()) return {Status::in_background};
  return {Status::failed, 0, error};
}

LocalStream::Outcome LocalStream::write_failure(int error) const {
  if (error == EAGAIN || error == EINTR) return {Status::would_block};
  if (error == EPIPE || (error == ECONNRESET && kind_ == Kind::socket)) return {Status::reader_gone};
  return {Status::failed, 0, error};
}

LocalStream::Outcome LocalStream::read_some(std::span<std::byte> into) {
  if (waits_first() && !ready(descriptor_.get(), POLLIN)) return {Status::would_block};
  // A read would stop the whole process (SIGTTIN), or fail.
  if (in_background()) return {ready(descriptor_.get(), POLLIN) ? Status::in_background : Status::would_block};
  ssize_t got = kind_ == Kind::socket ? ::recv(descriptor_.get(), into.data(), into.size(), MSG_DONTWAIT)
                                      : ::read(descriptor_.get(), into.data(), into.size());
  if (got < 0) return read_failure(errno);
  if (got == 0) return {Status::ended};
  return {Status::moved, static_cast<std::size_t>(got)};
}

LocalStream::Outcome LocalStream::write_some(std::span<const std::byte> bytes) {
  if (waits_first()) {
    if (!ready(descriptor_.get(), POLLOUT)) return {Status::would_block};
    bytes = bytes.first(std::min(bytes.size(), std::size_t{PIPE_BUF}));
  }
  ssize_t put = kind_ == Kind::socket
                    ? ::send(descriptor_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
                    : ::write(descriptor_.get(), bytes.data(), bytes.size());
  if (put < 0) return write_failure(errno);
  if (put == 0) return {Status::would_block};
  return {Status::moved, static_cast<std::size_t>(put)};
}

LocalStream::Outcome LocalStream::splice_to(int pipe, std::size_t size) {
  REQUIRE(is_pipe());
  ssize_t got = ::splice(descriptor_.get(), nullptr, pipe, nullptr, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got < 0) return read_failure(errno);
  if (got == 0) return {Status::ended};
  return {Status::moved, static_cast<std::size_t>(got)};
}

LocalStream::Outcome LocalStream::splice_from(int pipe, std::size_t size) {
  REQUIRE(is_pipe());
  ssize_t put = ::splice(pipe, nullptr, descriptor_.get(), nullptr, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (put < 0) return write_failure(errno);
  INVARIANT(put > 0);  // the caller's pipe is not empty, and has a writer
  return {Status::moved, static_cast<std::size_t>(put)};
}

void LocalStream::enlarge(std::size_t capacity) {
  if (!is_pipe()) return;
  int held = ::fcntl(descriptor_.get(), F_GETPIPE_SZ);
  if (held >= 0 && static_cast<std::size_t>(held) < capacity)
    ::fcntl(descriptor_.get(), F_SETPIPE_SZ, static_cast<int>(capacity));
}

bool LocalStream::reader_gone() const {
  if (kind_ == Kind::file) return false;
  pollfd look{.fd = descriptor_.get(), .events = 0, .revents = 0};
  return ::poll(&look, 1, 0) > 0 && (look.revents & (POLLERR | POLLHUP)) != 0;
}

}  // namespace sluice::link
