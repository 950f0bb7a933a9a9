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

  /// -1: nothing more comes.
  int descriptor() const { return input_.get(); }
  const std::string& tail() const { return tail_; }

  /// Passes on what is there now, without waiting for more. Of a sink that takes no more the rest is kept as tail only.
  void pump(int sink) {
    char block[4096];
    while (input_) {
      pollfd readable{.fd = input_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&readable, 1, 0) <= 0) return;
      ssize_t got = ::read(input_.get(), block, sizeof block);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return input_.reset();
      keep({block, static_cast<std::size_t>(got)});
      pass_on({block, static_cast<std::size_t>(got)}, sink);
    }
  }

 private:
  void keep(std::string_view bytes) {
    tail_ += bytes;
    if (tail_.size() > kStderrTailMax) tail_.erase(0, tail_.size() - kStderrTailMax);
  }
  static void pass_on(std::string_view bytes, int sink) {
    while (!bytes.empty()) {
      ssize_t written = ::write(sink, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0 && errno == EAGAIN) {
        pollfd writable{.fd = sink, .events = POLLOUT, .revents = 0};
        ::poll(&writable, 1, -1);
        continue;
      }
      if (written <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  UniqueFd input_;
  std::string tail_;
};

}  // namespace sluice::node
