#pragma once
// Merges several byte streams into one, line by line: a line of one is never broken by another's, each may carry the mark
// of where it came from, and what is unfinished at the end of a stream gets its line end.
//
// A line that outgrows kLineBufferMax goes out in pieces, and holds the others back until it ends: nothing is lost, and
// nothing unbounded is kept. A slow reader holds back whoever writes, through the pipes.
#include <cstddef>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace sluice::link {

inline constexpr std::size_t kLineBufferMax = std::size_t{256} << 10;

/// The pure part: takes what arrives from each input, gives what is to be written, in order.
/// Threading: a value.
class LineMergeMachine final {
 public:
  explicit LineMergeMachine(std::vector<std::string> marks);

  /// Whether more from `input` may come now: not while another input's long line holds the output.
  bool wants(std::size_t input) const;
  void on_bytes(std::size_t input, std::string_view bytes);
  void on_end(std::size_t input);
  /// What is ready to be written; empty if nothing is.
  std::string take_output();
  bool finished() const { return open_ == 0 && output_.empty(); }

 private:
  struct Input {
    std::string mark;
    std::string pending;        // of an unfinished line
    bool in_long_line = false;  // part of the line has been written already
    bool ended = false;
  };
  void put_lines(std::size_t index, std::string_view bytes);
  void put_unfinished(Input& input);

  std::vector<Input> inputs_;
  std::size_t open_;
  std::string output_;
  std::size_t holder_;  // the input whose long line is being written, or inputs_.size()
};

enum class MergeEnd { ended, reader_gone, failed };

/// Runs the machine between descriptors on a thread of its own: whoever reads stdout may be slow, and a descriptor that is
/// shared with others must not be made non-blocking.
/// Threading: made and destroyed by one thread; `on_end` is called once, on the merging thread.
class LineMerge final {
 public:
  /// `inputs` are pipes. Both are closed when the merge has ended, `output` last. Errors: errno; no thread can be started,
  /// or no descriptor is left. `on_end` is not called then.
  static std::expected<LineMerge, int> start(std::vector<UniqueFd> inputs, std::vector<std::string> marks,
                                             UniqueFd output, std::function<void(MergeEnd)> on_end);
  LineMerge(LineMerge&&) noexcept;
  LineMerge& operator=(LineMerge&&) = delete;
  /// Stops the merge if it has not ended; what was not written yet is dropped. A write never blocks for long: no more
  /// goes out at a time than a pipe that polls as writable takes.
  ~LineMerge();

 private:
  struct Running;
  explicit LineMerge(std::unique_ptr<Running> running);
  std::unique_ptr<Running> running_;
};

}  // namespace sluice::link
