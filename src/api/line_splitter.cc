#include "api/line_splitter.h"

namespace sluice::api {

std::optional<std::string> LineSplitter::poll_line() {
  while (taken_ < buffer_.size()) {
    std::size_t end = buffer_.find('\n', searched_);
    if (end == buffer_.npos && !ended_) {
      searched_ = buffer_.size();
      break;
    }
    std::size_t line_end = end == buffer_.npos ? buffer_.size() : end;
    std::string line = buffer_.substr(taken_, line_end - taken_);
    taken_ = searched_ = end == buffer_.npos ? buffer_.size() : end + 1;
    if (line.find_first_not_of(" \t\r") != line.npos) return line;
  }
  buffer_.erase(0, taken_);
  searched_ -= taken_;
  taken_ = 0;
  return std::nullopt;
}

}  // namespace sluice::api
