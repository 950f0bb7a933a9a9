#include "link/splice_relay.h"

#include <fcntl.h>

#include <cerrno>

namespace sluice::link {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;  // the largest pipe an ordinary user may have (pipe(7))
constexpr int kPiecesPerTurn = 16;

bool readable(int fd) {
  pollfd input{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&input, 1, 0) > 0 && (input.revents & (POLLIN | POLLHUP)) != 0;
}

}  // namespace

SpliceRelay::State SpliceRelay::move() {
  for (int piece = 0; state_ == State::moving && piece < kPiecesPerTurn; ++piece) {
    ssize_t got = ::splice(input_.get(), nullptr, output_.get(), nullptr, kPiece, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (got > 0) {
      moved_ += ByteCount{static_cast<std::uint64_t>(got)};
      output_full_ = false;
    } else if (got == 0) {
      return finish(State::input_ended);
    } else if (errno == EPIPE) {
      return finish(State::reader_gone);
    } else if (errno == EAGAIN) {
      // splice(2) does not say which side it would wait for.
      output_full_ = readable(input_.get());
      pollfd output{.fd = output_.get(), .events = 0, .revents = 0};
      if (::poll(&output, 1, 0) > 0 && (output.revents & POLLERR) != 0) return finish(State::reader_gone);
      return state_;
    } else if (errno != EINTR) {
      return finish(State::failed);
    }
  }
  return state_;
}

SpliceRelay::State SpliceRelay::finish(State state) {
  state_ = state;
  input_.reset();
  output_.reset();
  return state;
}

std::optional<SpliceRelay::Waits> SpliceRelay::waits() const {
  if (state_ != State::moving) return std::nullopt;
  // POLLERR of the output, a reader that went away, is reported whatever is asked for.
  return Waits{.input = {.fd = output_full_ ? -1 : input_.get(), .events = POLLIN, .revents = 0},
               .output = {.fd = output_.get(), .events = static_cast<short>(output_full_ ? POLLOUT : 0), .revents = 0}};
}

}  // namespace sluice::link
