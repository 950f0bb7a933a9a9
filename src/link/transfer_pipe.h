#pragma once
// A pipe of our own that splice(2) needs between two descriptors of others.
//
// A splice between a program's pipe and a socket holds the pipe's lock for as long as TCP takes, while the program spins for
// it. Through a pipe of our own the program's is held for microseconds, and how much lies in ours is known exactly, as the
// length in front of a frame must be.
// Threading: belongs to one thread at a time.
#include <cstddef>
#include <optional>

#include "base/unique_fd.h"

namespace sluice::link {

class TransferPipe final {
 public:
  /// Nothing: out of descriptors. Everything can be copied instead.
  static std::optional<TransferPipe> make();

  int input() const { return write_end_.get(); }
  int output() const { return read_end_.get(); }
  /// Makes it hold `capacity` bytes, if the kernel allows it.
  void enlarge(std::size_t capacity);
  /// What it holds when every page is full.
  std::size_t capacity() const { return capacity_; }
  std::size_t held() const { return held_; }
  void put(std::size_t bytes) { held_ += bytes; }
  void take(std::size_t bytes);

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
  std::size_t capacity_ = 0;
  std::size_t held_ = 0;
};

}  // namespace sluice::link
