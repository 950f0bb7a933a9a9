#pragma once
// The last bytes of a stream, kept in files whose size together is bounded.
//
// The stream is cut into segments, each a file named by the stream and the offset of its first byte. When there are too
// many the oldest goes. So the files say by themselves what is kept and what was dropped, there is no index that could
// be wrong, and a reader needs no agreement with the writer:
//
//   1.stdout.00000000000000000000 (gone)   1.stdout.00000000000001310720   1.stdout.00000000000002621440 (grows)
//
// A write that fails (no space left) drops its bytes and leaves a hole in the offsets: the next segment begins behind it.
// The files are not synced: the end record of the launch is, and what a power failure takes from them is their tail.
// Threading: belongs to one thread; a reader may be another process.
#include <cstdint>
#include <deque>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"
#include "base/unique_fd.h"

namespace sluice::exec {

class BoundedOutput final {
 public:
  /// `directory` must stay open. At most `bytes_max` are kept; at least 7/8 of that once there was so much.
  BoundedOutput(int directory, std::string name, std::uint64_t bytes_max);

  /// Never fails: what can't be written is dropped and counted. While writing fails it is tried anew only now and then.
  void append(std::string_view bytes, TimePoint now);

  std::uint64_t total_bytes() const { return total_; }
  /// Those of `total_bytes` that are in no file any more.
  std::uint64_t dropped_bytes() const { return total_ - kept_; }
  /// The last error of writing, an errno, or 0.
  int error() const { return error_; }
  /// The last bytes could not be written.
  bool failing() const { return retry_at_.has_value(); }

 private:
  struct Segment {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };
  std::string file_name(const Segment& segment) const;
  bool start_segment();
  void drop_oldest();
  void fail(int error, TimePoint now);

  int directory_;
  std::string name_;
  std::uint64_t segment_max_;
  std::deque<Segment> segments_;  // the last one is open
  UniqueFd file_;
  std::uint64_t total_ = 0;
  std::uint64_t kept_ = 0;
  int error_ = 0;
  std::optional<TimePoint> retry_at_;
};

struct OutputChunk {
  std::uint64_t offset = 0;  // of the first byte below in the whole stream; beyond what was asked for, if that is gone
  std::string bytes;
  std::uint64_t first_kept = 0;  // offset of the first byte that is still there
  std::uint64_t end = 0;         // offset behind the last one
  std::uint64_t dropped = 0;     // of the bytes before `end`
};

/// Reads at most `bytes_max` from `offset` on; nothing if that is the end. Errors: errno.
std::expected<OutputChunk, int> read_bounded_output(const std::string& directory, const std::string& name,
                                                    std::uint64_t offset, std::size_t bytes_max);

}  // namespace sluice::exec
