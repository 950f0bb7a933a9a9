#pragma once
// The pipe between a stage of a simulated flow and the junction. It holds few bytes, or one record that is longer.
// Threading: a value.
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "base/require.h"

namespace sluice::sim {

class FlowPipe final {
 public:
  explicit FlowPipe(std::size_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  bool ended = false;      // nothing is written any more
  bool no_reader = false;  // nothing is read any more

  std::size_t capacity_bytes() const { return capacity_bytes_; }
  bool empty() const { return records_.empty(); }
  std::size_t size() const { return records_.size(); }
  bool has_room(std::size_t size) const { return bytes_ == 0 || bytes_ + size <= capacity_bytes_; }

  /// Requires: has_room().
  void put(std::string record) {
    REQUIRE(has_room(record.size()));
    bytes_ += record.size();
    records_.push_back(std::move(record));
  }
  std::optional<std::string> take() {
    if (records_.empty()) return std::nullopt;
    std::string record = std::move(records_.front());
    records_.pop_front();
    bytes_ -= record.size();
    return record;
  }

 private:
  std::size_t capacity_bytes_;
  std::size_t bytes_ = 0;
  std::deque<std::string> records_;
};

}  // namespace sluice::sim
