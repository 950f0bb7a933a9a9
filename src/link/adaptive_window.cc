#include "link/adaptive_window.h"

#include <algorithm>

#include "base/require.h"

namespace sluice::link {
namespace {

// A program that waits for less than this part of the time is not worth more credit.
constexpr int kIdleShare = 8;

}  // namespace

AdaptiveWindow::AdaptiveWindow(const Options& options) : options_(options), size_(options.size_start) {
  REQUIRE(options.size_min >= 1);
  REQUIRE(options.size_min <= options.size_start);
  REQUIRE(options.size_start <= options.size_max);
}

void AdaptiveWindow::on_taken(std::uint64_t amount, Duration queued, TimePoint now) {
  if (began_ == TimePoint()) began_ = now;
  taken_ += amount;
  queued_longest_ = std::max(queued_longest_, queued);
  if (taken_ < size_) return;
  judge(now - began_);
  began_ = now;
  taken_ = 0;
  idle_ = queued_longest_ = {};
  starved_ = false;
}

void AdaptiveWindow::judge(Duration elapsed) {
  if (queued_longest_ > options_.queue_time_max) {
    size_ = std::max(size_ / 2, options_.size_min);
  } else if (starved_ && idle_ * kIdleShare >= elapsed) {
    size_ = std::min(size_ * 2, options_.size_max);
  }
}

}  // namespace sluice::link
