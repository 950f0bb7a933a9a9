#pragma once
// Watches a kernel pipe that two other processes use, without being one of its ends.
//
// An O_PATH descriptor (open(2)) keeps the pipe's inode but counts neither as a reader nor as a writer, so the end of
// file and SIGPIPE still pass between the two as if nobody watched. To look, it is opened for writing for a moment
// through /proc; a reader that is at the end of file sees it a few microseconds later at worst.
// Without /proc, or out of descriptors, an observer knows nothing; that is a value, not an error.
#include <cstdint>
#include <optional>

#include "base/quantity.h"
#include "base/unique_fd.h"

namespace sluice::link {

enum class ReaderState { open, gone, unknown };

struct PipeFill {
  ByteCount used;
  ByteCount capacity;
  bool full = false;  // a writer has to wait, though `used` may be less: a page that is not full may not be filled up
};

class PipeObserver final {
 public:
  /// Observes nothing.
  PipeObserver() = default;
  /// Takes over a descriptor that `watch` made, in this or another process.
  explicit PipeObserver(UniqueFd path_only) : path_only_(std::move(path_only)) {}

  /// Observes the pipe behind either of its ends; of anything but a pipe nothing is known.
  static PipeObserver watch(int pipe_end);
  /// The one behind a descriptor of another process, which must be one that we may look at (ptrace(2), access mode).
  static PipeObserver of_process(int pid, int descriptor);

  ReaderState reader() const;
  std::optional<PipeFill> fill() const;

  bool watching() const { return static_cast<bool>(path_only_); }
  int descriptor() const { return path_only_.get(); }

 private:
  UniqueFd open_for_a_moment() const;
  UniqueFd path_only_;
};

/// Whether somebody can still write to the pipe at `path`, such as /proc/PID/fd/0; nothing if that is no pipe or may
/// not be opened.
std::optional<bool> pipe_has_writer(const char* path);

}  // namespace sluice::link
