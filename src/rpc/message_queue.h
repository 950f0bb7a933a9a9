#pragma once
// First in, first out, without the half kilobyte that an empty std::deque takes: every call has two of them.
// Threading: a value.
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "base/require.h"

namespace sluice::rpc {

class MessageQueue final {
 public:
  bool empty() const { return first_ == messages_.size(); }
  std::size_t size() const { return messages_.size() - first_; }
  const std::string& front() const {
    REQUIRE(!empty());
    return messages_[first_];
  }
  void push(std::string message) { messages_.push_back(std::move(message)); }
  std::string pop() {
    REQUIRE(!empty());
    std::string message = std::move(messages_[first_]);
    ++first_;
    // Moving the rest up at half time costs each message one move.
    if (2 * first_ >= messages_.size()) {
      messages_.erase(messages_.begin(), messages_.begin() + static_cast<std::ptrdiff_t>(first_));
      first_ = 0;
    }
    return message;
  }

 private:
  std::vector<std::string> messages_;
  std::size_t first_ = 0;
};

}  // namespace sluice::rpc
