#include "cluster/replay_window.h"

#include <algorithm>

#include "base/require.h"

namespace sluice::cluster {
namespace {

std::size_t slot_of(std::uint64_t counter) { return counter / 64 % kReplayWords; }
std::uint64_t bit_of(std::uint64_t counter) { return std::uint64_t{1} << counter % 64; }

}  // namespace

bool ReplayWindow::is_new(std::uint64_t counter) const {
  if (counter == 0) return false;
  if (counter > greatest_) return true;
  if (greatest_ - counter >= kReplayWindow) return false;
  return (words_[slot_of(counter)] & bit_of(counter)) == 0;
}

void ReplayWindow::accept(std::uint64_t counter) {
  REQUIRE(is_new(counter));
  if (counter > greatest_) {
    // The words that the window enters hold what left it behind, one round earlier.
    const std::uint64_t entered = std::min<std::uint64_t>(counter / 64 - greatest_ / 64, kReplayWords);
    for (std::uint64_t i = 0; i < entered; ++i) words_[slot_of(counter - 64 * i)] = 0;
    greatest_ = counter;
  }
  words_[slot_of(counter)] |= bit_of(counter);
}

}  // namespace sluice::cluster
