#include "node/stderr_queue.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/text.h"

namespace sluice::node {

void StderrQueue::say(std::string_view message) {
  if (!has_room()) {
    ++lost_;
    return;
  }
  if (lost_ > 0) put("sluice: " + std::to_string(lost_) + " messages were lost: nobody read stderr\n");
  lost_ = 0;
  put("sluice: " + without_controls(message) + "\n");
}

void StderrQueue::put(std::string_view text) {
  pending_.append(text);
  pump();
}

// A regular file is left as it is: it never waits, and a second opening would have an offset of its own.
void StderrQueue::open() {
  opened_ = true;
  piece_ = PIPE_BUF;
  struct stat status {};
  bool terminal = ::isatty(STDERR_FILENO) == 1;
  if (!terminal && (::fstat(STDERR_FILENO, &status) != 0 || !S_ISFIFO(status.st_mode))) return;
  non_blocking_.reset(::open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (terminal && !non_blocking_) piece_ = 1;
}

int StderrQueue::descriptor() const { return non_blocking_ ? non_blocking_.get() : STDERR_FILENO; }

void StderrQueue::pump() {
  if (!opened_ && !pending_.empty()) open();
  while (!pending_.empty()) {
    pollfd output = *waits();
    if (::poll(&output, 1, 0) <= 0) return;
    ssize_t written = ::write(descriptor(), pending_.data(), std::min(pending_.size(), piece_));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) return;
    // Whoever closed our stderr does not want to hear it; there is no other place to say it.
    if (written < 0) return pending_.clear();
    pending_.erase(0, static_cast<std::size_t>(written));
  }
}

std::optional<pollfd> StderrQueue::waits() const {
  if (pending_.empty()) return std::nullopt;
  return pollfd{.fd = descriptor(), .events = POLLOUT, .revents = 0};
}

}  // namespace sluice::node
