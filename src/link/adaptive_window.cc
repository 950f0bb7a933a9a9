#include "link/adaptive_window.h"

#include <algorithm>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// A program that waits for less than this part of the time is not worth more credit.
constexpr int kIdleShare = 8;
// A rate is that of so many windows, and of that time: whoever waits for a processor carries nothing for a while.
constexpr std::uint64_t kTrialWindows = 8;
constexpr Duration kTrialTime = std::chrono::milliseconds(10);
constexpr double kClearGain = 1.5;  // ... or of one, if it is that much better
// What a larger window must bring; where it is too small, the double brings twice as much.
constexpr double kGain = 1.25;
constexpr double kLoss = 0.97;                // what a smaller one must keep
constexpr std::uint64_t kPatienceMax = 4096;  // windows

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
  ++windows_;
  taken_at_size_ += taken_;
  elapsed_at_size_ += elapsed;
  larger_.on_window();
  smaller_.on_window();
  if (queued_longest_ > options_.queue_time_max) return change(std::max(size_ / 2, options_.size_min));
  if (trial_) return judge_trial();
  bool wants_more = starved_ && idle_ * kIdleShare >= elapsed && size_ < options_.size_max;
  std::uint64_t twice = std::min(size_ * 2, options_.size_max);
  if (wants_more && twice <= options_.size_free) return change(twice);
  if (wants_more && std::exchange(climbs_, false)) return try_size(twice);
  if (!knows_rate()) return;
  if (wants_more && larger_.is_over()) return try_size(twice);
  if (starved_ && smaller_.is_over() && size_ / 2 >= options_.size_free) try_size(size_ / 2);
}

// A much better rate is known at once: where a window takes a round trip, many of them take long.
void AdaptiveWindow::judge_trial() {
  bool is_larger = size_ > trial_->size_before;
  bool clearly_better = is_larger && rate() >= trial_->rate_before * kClearGain;
  if (!clearly_better && !knows_rate()) return;
  Patience& patience = is_larger ? larger_ : smaller_;
  std::uint64_t before = trial_->size_before;
  if (rate() >= trial_->rate_before * (is_larger ? kGain : kLoss)) {
    patience.on_success();
    climbs_ = clearly_better;
    trial_.reset();
  } else {
    patience.on_failure();
    change(before);
  }
}

void AdaptiveWindow::try_size(std::uint64_t size) {
  Trial trial{.size_before = size_, .rate_before = rate()};
  change(size);
  trial_ = trial;
}

void AdaptiveWindow::change(std::uint64_t size) {
  size_ = size;
  climbs_ = false;
  trial_.reset();
  windows_ = taken_at_size_ = 0;
  elapsed_at_size_ = {};
}

bool AdaptiveWindow::knows_rate() const { return windows_ >= kTrialWindows && elapsed_at_size_ >= kTrialTime; }

double AdaptiveWindow::rate() const {
  return static_cast<double>(taken_at_size_) /
         static_cast<double>(std::max<Duration::rep>(elapsed_at_size_.count(), 1));
}

void AdaptiveWindow::Patience::on_failure() {
  wait = std::min(wait * 2, kPatienceMax);
  left = wait;
}

}  // namespace sluice::link
