#pragma once
// The memory that requests which are still arriving may hold, all connections of a door together. Without it, whoever has a
// token could begin a large message on each of a thousand connections.
// Invariant: the sum of all shares is the budget's use, and at most its limit.
// Threading: belongs to the loop of the door.
#include <cstddef>
#include <memory>
#include <utility>

#include "base/require.h"

namespace sluice::api {

class BodyBudget final {
 public:
  explicit BodyBudget(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  std::size_t used() const { return used_; }

 private:
  friend class BodyShare;
  std::size_t bytes_max_;
  std::size_t used_ = 0;
};

/// What one request holds of it; given back when the share goes.
class BodyShare final {
 public:
  explicit BodyShare(std::shared_ptr<BodyBudget> budget) : budget_(std::move(budget)) {}
  ~BodyShare() { budget_->used_ -= size_; }
  BodyShare(const BodyShare&) = delete;
  BodyShare& operator=(const BodyShare&) = delete;

  /// False: too much is held already; nothing changes.
  [[nodiscard]] bool resize(std::size_t size) {
    std::size_t others = budget_->used_ - size_;
    if (size > size_ && (others > budget_->bytes_max_ || size > budget_->bytes_max_ - others)) return false;
    budget_->used_ = others + size;
    size_ = size;
    INVARIANT(budget_->used_ <= budget_->bytes_max_);
    return true;
  }

 private:
  std::shared_ptr<BodyBudget> budget_;  // a connection may outlive the options that named it
  std::size_t size_ = 0;
};

}  // namespace sluice::api
