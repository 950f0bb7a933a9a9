#include "link/line_marker.h"

#include <algorithm>
#include <utility>

namespace sluice::link {

std::string LineMarker::on_bytes(std::string_view bytes) {
  std::string marked;
  while (!bytes.empty()) {
    bool only_its_end = std::exchange(cut_, false) && bytes.front() == '\n';
    if (only_its_end) {
      bytes.remove_prefix(1);
      continue;
    }
    std::size_t line_end = bytes.find('\n');
    std::size_t take = std::min({line_end, bytes.size(), kLineMax - line_.size()});
    line_.append(bytes.substr(0, take));
    bytes.remove_prefix(take);
    bool complete = take == line_end;
    if (complete) bytes.remove_prefix(1);
    cut_ = !complete && line_.size() == kLineMax;
    if (complete || cut_) marked += take_line();
  }
  return marked;
}

std::string LineMarker::on_end() { return line_.empty() ? std::string() : take_line(); }

std::string LineMarker::take_line() {
  std::string marked = mark_ + line_ + "\n";
  line_.clear();
  return marked;
}

}  // namespace sluice::link
