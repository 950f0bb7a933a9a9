#pragma once
// The stderr of one job, passed on as it comes, of which the tail is kept for its dead letter.
// Threading: a value.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

#include "base/pipe.h"
#include "base/unique_fd.h"
#include "node/dead_letters.h"

namespace sluice::node {

class JobStderr final {
 public:
  /// Nothing is captured.
  JobStderr() = default;
  /// What is to be given to the job, whose end of it must then be closed here. Errors: errno.
  std::expected<UniqueFd, int> open() {
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(pipe.error());
    input_ = std::move(pipe->read_end);
    return std::move(pipe->write_end);
  }

  const std::string& tail() const { return tail_; }
  /// What to wait for: more of it, or room in the sink for what has come.
  pollfd waits(int sink) const {
    if (!waiting_.empty()) return {.fd = sink, .events = POLLOUT, .revents = 0};
    return {.fd = input_.get(), .events = POLLIN, .revents = 0};
  }
  /// All that has come has gone on.
  bool passed_on() const { return waiting_.empty(); }

  /// Passes on what is there now. It never waits: while the sink takes nothing, the job is not read, and waits as it
  /// would for the sink itself.
  void pump(int sink) {
    char block[kAtOnce];
    while (pass_on(sink) && input_ && ready(input_.get(), POLLIN)) {
      ssize_t got = ::read(input_.get(), block, sizeof block);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return input_.reset();
      keep({block, static_cast<std::size_t>(got)});
      waiting_.assign(block, static_cast<std::size_t>(got));
    }
  }

 private:
  void keep(std::string_view bytes) {
    tail_ += bytes;
    if (tail_.size() > kStderrTailMax) tail_.erase(0, tail_.size() - kStderrTailMax);
  }
  // A pipe or a terminal that says it is writable takes so much without waiting (pipe(7), PIPE_BUF).
  static constexpr std::size_t kAtOnce = 4096;

  static bool ready(int descriptor, short events) {
    pollfd polled{.fd = descriptor, .events = events, .revents = 0};
    return ::poll(&polled, 1, 0) > 0;
  }
  // True: nothing waits any more.
  bool pass_on(int sink) {
    while (!waiting_.empty()) {
      if (!ready(sink, POLLOUT)) return false;
      ssize_t written = ::write(sink, waiting_.data(), waiting_.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0 && errno == EAGAIN) return false;
      if (written <= 0)
        waiting_.clear();  // nobody reads it, as with the program's own stderr
      else
        waiting_.erase(0, static_cast<std::size_t>(written));
    }
    return true;
  }

  UniqueFd input_;
  std::string tail_;
  std::string waiting_;  // for room in the sink
};

}  // namespace sluice::node
