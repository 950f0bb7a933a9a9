#include "link/transfer_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/require.h"

namespace sluice::link {

std::optional<TransferPipe> TransferPipe::make() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return std::nullopt;
  TransferPipe pipe;
  pipe.read_end_.reset(ends[0]);
  pipe.write_end_.reset(ends[1]);
  int capacity = ::fcntl(ends[0], F_GETPIPE_SZ);
  INVARIANT(capacity > 0);
  pipe.capacity_ = static_cast<std::size_t>(capacity);
  return pipe;
}

void TransferPipe::enlarge(std::size_t capacity) {
  int held = ::fcntl(read_end_.get(), F_SETPIPE_SZ, static_cast<int>(capacity));
  if (held > 0) capacity_ = static_cast<std::size_t>(held);
}

void TransferPipe::take(std::size_t bytes) {
  REQUIRE(bytes <= held_);
  held_ -= bytes;
}

}  // namespace sluice::link
