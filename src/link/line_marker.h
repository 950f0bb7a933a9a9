#pragma once
// Puts a mark before each line of a byte stream, so that the streams of several programs can share one output.
// Memory: one line, or kLineMax bytes of a longer one.
// Threading: a pure value.
#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::link {

class LineMarker final {
 public:
  explicit LineMarker(std::string mark) : mark_(std::move(mark)) {}

  /// The marked form of every line that `bytes` complete. The rest is kept.
  std::string on_bytes(std::string_view bytes);
  /// The last line, if it had no line end; it gets one.
  std::string on_end();

  /// A longer line is passed on in pieces, each marked as a line.
  static constexpr std::size_t kLineMax = 8192;

 private:
  std::string take_line();
  std::string mark_;
  std::string line_;
  bool cut_ = false;  // the last piece was full; a line end that follows at once is its own
};

}  // namespace sluice::link
