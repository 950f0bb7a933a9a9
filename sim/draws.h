#pragma once
// What a run draws from its seed: how long something takes, whether it happens, and which faults there are at all.
// Threading: a value that is asked.
#include <cstdint>

#include "base/random.h"
#include "base/time.h"

namespace sluice::sim {

class Draws final {
 public:
  explicit Draws(std::uint64_t seed) : random_(seed) {}

  /// From 0 to `limit` - 1.
  std::uint64_t below(std::uint64_t limit) { return random_.below(limit); }
  /// From none to all of `most`.
  Duration some(Duration most) {
    return Duration(static_cast<Duration::rep>(below(static_cast<std::uint64_t>(most.count()) + 1)));
  }
  double share_of(double whole) { return whole * random_.fraction(); }
  bool chance(double share) { return random_.fraction() < share; }
  /// Nothing in half of all runs, because one with all faults at once would never see what one of them does alone.
  double maybe(double most) { return below(2) == 0 ? 0.0 : share_of(most); }

 private:
  SeededRandom random_;
};

}  // namespace sluice::sim
