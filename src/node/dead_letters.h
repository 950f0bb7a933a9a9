#pragma once
// Records that failed for good, one JSON object a line in a file (--dead-letter): what it was, what became of it, and
// the tail of what its process wrote to stderr. docs/pipelines.md lists the fields; they are only ever added.
//
// A letter is on the disk before the record counts as dealt with.
// Threading: any; stages share one.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <mutex>
#include <string>
#include <string_view>

#include "base/unique_fd.h"
#include "flow/each_work.h"

namespace sluice::node {

/// Of a process's stderr.
inline constexpr std::size_t kStderrTailMax = std::size_t{4} << 10;

struct DeadLetter {
  std::string flow;       // its name; empty: it has none
  std::size_t stage = 0;  // from 1
  std::string command;
  flow::BatchNumber number = 0;  // of the record, or of the batch of @each=N
  std::uint32_t attempts = 0;
  flow::AttemptEnd end;
  std::string stderr_tail;
  std::string record;  // as it stood in the stream
};

std::string to_json(const DeadLetter& letter);

class DeadLetters final {
 public:
  /// Appends to a file, which is made if it is not there. Errors: a sentence.
  static std::expected<DeadLetters, std::string> open(const std::string& path);
  DeadLetters(DeadLetters&& other) noexcept : path_(std::move(other.path_)), file_(std::move(other.file_)) {}

  /// Errors: a sentence; the record must be held on to.
  std::expected<void, std::string> bury(const DeadLetter& letter);

 private:
  DeadLetters(std::string path, UniqueFd file) : path_(std::move(path)), file_(std::move(file)) {}

  std::mutex mutex_;
  std::string path_;
  UniqueFd file_;
};

}  // namespace sluice::node
