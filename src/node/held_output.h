#pragma once
// The output of one process, kept until it is known whether it may go on: in memory while it is short, then in a file
// without a name below TMPDIR (/tmp).
// Threading: a value.
#include <cstddef>
#include <expected>
#include <span>
#include <string>

#include "base/unique_fd.h"
#include "link/local_stream.h"

namespace sluice::node {

class HeldOutput final {
 public:
  /// Of an output that stays in memory.
  static constexpr std::size_t kMemoryMax = std::size_t{16} << 10;

  /// Errors: a sentence; the file can't be made or has no room.
  std::expected<void, std::string> append(std::span<const char> bytes);
  std::size_t size() const { return size_; }
  bool in_file() const { return static_cast<bool>(file_); }

  enum class Passed { all, some, failed };
  struct Outcome {
    Passed passed = Passed::some;
    link::LocalStream::Outcome stream;  // why not all was
    int read_error = 0;                 // errno; the file could not be read
  };
  /// Writes on, from where the last call stopped. Requires: nothing is appended any more.
  Outcome pass_on(link::LocalStream& into);

 private:
  std::expected<void, std::string> open_file();
  std::expected<void, std::string> write_file(std::span<const char> bytes);

  std::string memory_;  // the whole; or, of a file, what of it is on its way
  UniqueFd file_;
  std::size_t size_ = 0;
  std::size_t passed_ = 0;  // of memory_
  std::size_t read_from_file_ = 0;
};

}  // namespace sluice::node
