#include "link/pipe_observer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>

namespace sluice::link {
namespace {

UniqueFd open_through_proc(int fd, int flags) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return UniqueFd(::open(path, flags | O_CLOEXEC));
}

}  // namespace

PipeObserver PipeObserver::watch(int pipe_end) {
  struct stat status {};
  if (::fstat(pipe_end, &status) != 0 || !S_ISFIFO(status.st_mode)) return {};
  return PipeObserver(open_through_proc(pipe_end, O_PATH));
}

PipeObserver PipeObserver::of_process(int pid, int descriptor) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, descriptor);
  UniqueFd end(::open(path, O_PATH | O_CLOEXEC));
  struct stat status {};
  if (!end || ::fstat(end.get(), &status) != 0 || !S_ISFIFO(status.st_mode)) return {};
  return PipeObserver(std::move(end));
}

UniqueFd PipeObserver::open_for_a_moment() const {
  return path_only_ ? open_through_proc(path_only_.get(), O_WRONLY | O_NONBLOCK) : UniqueFd();
}

ReaderState PipeObserver::reader() const {
  errno = 0;
  UniqueFd end = open_for_a_moment();
  int error = errno;
  // A named pipe without a reader can't be opened like this (fifo(7)); an anonymous one can, and then polls as broken.
  if (!end) return error == ENXIO ? ReaderState::gone : ReaderState::unknown;
  pollfd poll_end{.fd = end.get(), .events = POLLOUT, .revents = 0};
  if (::poll(&poll_end, 1, 0) < 0) return ReaderState::unknown;
  return (poll_end.revents & POLLERR) != 0 ? ReaderState::gone : ReaderState::open;
}

std::optional<PipeFill> PipeObserver::fill() const {
  UniqueFd end = open_for_a_moment();
  int used = 0;
  if (!end || ::ioctl(end.get(), FIONREAD, &used) != 0) return std::nullopt;
  int capacity = ::fcntl(end.get(), F_GETPIPE_SZ);
  if (capacity <= 0) return std::nullopt;
  pollfd poll_end{.fd = end.get(), .events = POLLOUT, .revents = 0};
  bool full = ::poll(&poll_end, 1, 0) == 0;
  return PipeFill{
      .used = {static_cast<std::uint64_t>(used)}, .capacity = {static_cast<std::uint64_t>(capacity)}, .full = full};
}

std::optional<bool> pipe_has_writer(const char* path) {
  UniqueFd end(::open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!end || ::fstat(end.get(), &status) != 0 || !S_ISFIFO(status.st_mode)) return std::nullopt;
  pollfd poll_end{.fd = end.get(), .events = POLLIN, .revents = 0};
  if (::poll(&poll_end, 1, 0) < 0) return std::nullopt;
  return (poll_end.revents & POLLHUP) == 0;
}

}  // namespace sluice::link
