#include "node/stderr_marks.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace sluice::node {
namespace {

// More than any pipe holds, so what was written before the end is passed on, and a stray that goes on writing is not.
constexpr int kDrainPieces = 128;

}  // namespace

void StderrMarks::add(UniqueFd input, std::string mark) {
  ::fcntl(input.get(), F_SETFL, O_NONBLOCK);
  sources_.push_back({std::move(input), link::LineMarker(std::move(mark))});
}

void StderrMarks::pump(Source& source, StderrQueue& queue) {
  char buffer[16384];
  ssize_t got = ::read(source.input.get(), buffer, sizeof buffer);
  if (got > 0) return queue.put(source.marker.on_bytes({buffer, static_cast<std::size_t>(got)}));
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  queue.put(source.marker.on_end());
  source.input.reset();
}

void StderrMarks::drain(StderrQueue& queue) {
  for (Source& source : sources_) {
    pollfd input{.fd = source.input.get(), .events = POLLIN, .revents = 0};
    for (int piece = 0; piece < kDrainPieces && source.input && ::poll(&input, 1, 0) > 0; ++piece) pump(source, queue);
    if (source.input) queue.put(source.marker.on_end());
  }
}

}  // namespace sluice::node
