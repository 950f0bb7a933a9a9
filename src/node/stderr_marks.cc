#include "node/stderr_marks.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace sluice::node {
namespace {

// More than any pipe holds, so what was written before the end is passed on, and a stray that goes on writing is not.
constexpr int kDrainPieces = 128;

void write_all(std::string_view text) {
  while (!text.empty()) {
    ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (written < 0 && errno == EAGAIN) {
      pollfd output{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
      ::poll(&output, 1, -1);
    } else if (written < 0 && errno != EINTR) {
      return;  // nobody reads our stderr: the stages must not be held up for that
    }
  }
}

}  // namespace

void StderrMarks::add(UniqueFd input, std::string mark) {
  ::fcntl(input.get(), F_SETFL, O_NONBLOCK);
  sources_.push_back({std::move(input), link::LineMarker(std::move(mark))});
}

void StderrMarks::pump(Source& source) {
  char buffer[16384];
  ssize_t got = ::read(source.input.get(), buffer, sizeof buffer);
  if (got > 0) return write_all(source.marker.on_bytes({buffer, static_cast<std::size_t>(got)}));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  write_all(source.marker.on_end());
  source.input.reset();
}

void StderrMarks::drain() {
  for (Source& source : sources_) {
    pollfd input{.fd = source.input.get(), .events = POLLIN, .revents = 0};
    for (int piece = 0; piece < kDrainPieces && source.input && ::poll(&input, 1, 0) > 0; ++piece) pump(source);
    if (source.input) write_all(source.marker.on_end());
  }
}

}  // namespace sluice::node
