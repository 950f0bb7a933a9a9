#pragma once
// Splits what arrives in pieces into lines. Pure.
// Threading: none of its own.
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::api {

class LineSplitter final {
 public:
  /// Requires: not ended.
  void on_bytes(std::string_view bytes) { buffer_ += bytes; }
  void on_end() { ended_ = true; }

  /// The next line that is more than blanks, without its end. Nothing: more must arrive, or all was given.
  std::optional<std::string> poll_line();
  bool finished() const { return ended_ && buffer_.size() == taken_; }
  /// Bytes held, of lines that are not complete or were not asked for.
  std::size_t held() const { return buffer_.size() - taken_; }

 private:
  std::string buffer_;
  std::size_t taken_ = 0;
  std::size_t searched_ = 0;  // there is no line end before this
  bool ended_ = false;
};

}  // namespace sluice::api
