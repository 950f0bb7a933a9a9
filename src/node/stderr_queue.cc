#include "node/stderr_queue.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace sluice::node {

void StderrQueue::say(std::string_view message) {
  if (!has_room()) {
    ++lost_;
    return;
  }
  if (lost_ > 0) put("sluice: " + std::to_string(lost_) + " messages were lost: nobody read stderr\n");
  lost_ = 0;
  put("sluice: " + std::string(message) + "\n");
}

void StderrQueue::put(std::string_view text) {
  pending_.append(text);
  pump();
}

void StderrQueue::pump() {
  while (!pending_.empty()) {
    pollfd output = *waits();
    if (::poll(&output, 1, 0) <= 0) return;
    ssize_t written = ::write(STDERR_FILENO, pending_.data(), std::min<std::size_t>(pending_.size(), PIPE_BUF));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) return;
    // Whoever closed our stderr does not want to hear it; there is no other place to say it.
    if (written < 0) return pending_.clear();
    pending_.erase(0, static_cast<std::size_t>(written));
  }
}

std::optional<pollfd> StderrQueue::waits() const {
  if (pending_.empty()) return std::nullopt;
  return pollfd{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
}

}  // namespace sluice::node
