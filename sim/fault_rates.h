#pragma once
// Faults of several kinds, each of which comes so often in a mean second of virtual time.
// Threading: a value.
#include <cstddef>
#include <utility>
#include <vector>

#include "base/require.h"
#include "sim/draws.h"

namespace sluice::sim {

class FaultRates final {
 public:
  explicit FaultRates(std::vector<double> rates) : rates_(std::move(rates)) {
    for (double rate : rates_) sum_ += rate;
  }

  bool none() const { return sum_ == 0; }
  /// The place of the next one's rate. Requires: not none().
  std::size_t draw_kind(Draws& draws) const {
    REQUIRE(!none());
    double drawn = draws.share_of(sum_);
    std::size_t kind = 0;
    while (kind + 1 < rates_.size() && drawn >= rates_[kind]) drawn -= rates_[kind++];
    return kind;
  }
  /// How long it is until the next one. Requires: not none().
  Duration draw_gap(Draws& draws) const {
    REQUIRE(!none());
    return draws.some(2 * std::chrono::duration_cast<Duration>(std::chrono::duration<double>(1 / sum_)));
  }

 private:
  std::vector<double> rates_;
  double sum_ = 0;
};

}  // namespace sluice::sim
