#pragma once
// The local descriptor of a byte link's end: a pipe, a terminal, a socket, a file or a device, read or written without
// blocking the loop, and without changing what others share.
//
// O_NONBLOCK belongs to the open file description, which stdin and stdout share with the shell that started us; set there,
// the shell's next program would fail with EAGAIN. So a pipe or terminal that is not ours alone is opened once more, through
// /proc/self/fd, with O_NONBLOCK. Where that is refused (no /proc, another user's pipe, the master of a pseudo-terminal)
// every read is preceded by poll(2), and every write too and is at most PIPE_BUF bytes, which poll(2) promises room for. Sockets have
// MSG_DONTWAIT. Files and devices without poll(2) are used as they are; a file keeps its offset shared.
// Threading: belongs to one thread at a time.
#include <cstddef>
#include <expected>
#include <span>

#include "base/unique_fd.h"

namespace sluice::link {

class LocalStream final {
 public:
  enum class Direction { from, into };

  enum class Status {
    moved,          // `bytes` of them, at least one
    would_block,    // nothing now; wait for the descriptor
    in_background,  // a terminal that another process group reads now; nothing tells when that changes
    ended,          // end of file
    reader_gone,    // nobody will read what is written
    failed,         // `error`
  };
  struct Outcome {
    Status status = Status::would_block;
    std::size_t bytes = 0;
    int error = 0;
  };

  /// Nothing is open.
  LocalStream() = default;
  /// `alone`: nobody else uses the open file description, so its flags may be changed.
  /// Errors: EPIPE if it is to be written and has no reader any more; what open(2) or fstat(2) said.
  static std::expected<LocalStream, int> open(UniqueFd descriptor, Direction direction, bool alone);

  Outcome read_some(std::span<std::byte> into);
  Outcome write_some(std::span<const std::byte> bytes);
  /// Without copying, from or to a pipe of the caller's that has room or bytes for it. Requires: is_pipe().
  Outcome splice_to(int pipe, std::size_t size);
  Outcome splice_from(int pipe, std::size_t size);

  /// Makes a pipe hold `capacity` bytes, if the kernel allows it.
  void enlarge(std::size_t capacity);

  /// Nobody will read what is written, found without writing. Of a file never.
  bool reader_gone() const;
  bool is_pipe() const { return kind_ == Kind::pipe; }
  /// Its description is shared: Readiness must know.
  bool shared() const { return shared_; }
  int descriptor() const { return descriptor_.get(); }
  explicit operator bool() const { return static_cast<bool>(descriptor_); }
  UniqueFd release() { return std::move(descriptor_); }

 private:
  enum class Kind { pipe, terminal, socket, file, device };

  static std::expected<Kind, int> kind_of(int descriptor);
  std::expected<void, int> stop_blocking(Direction direction, bool alone);
  bool waits_first() const { return shared_ && kind_ != Kind::socket && kind_ != Kind::file; }
  bool in_background() const;
  Outcome write_failure(int error) const;
  Outcome read_failure(int error) const;

  UniqueFd descriptor_;
  Kind kind_ = Kind::file;
  bool shared_ = false;
};

}  // namespace sluice::link
