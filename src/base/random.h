#pragma once
// Randomness: the kernel's, for secrets and ids, and a small seeded generator for machines, so that a run can be
// replayed from its seed.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/require.h"

namespace sluice {

/// Fills `into` from getrandom(2). Before the kernel has seeded its generator this waits.
void fill_random(std::span<std::uint8_t> into);
std::uint64_t random_seed();

/// xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2021), seeded by splitmix64.
/// Not for secrets.
class SeededRandom final {
 public:
  using result_type = std::uint64_t;

  explicit SeededRandom(std::uint64_t seed) {
    for (std::uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word = z ^ (z >> 31);
    }
  }

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~result_type{0}; }

  result_type operator()() {
    std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Evenly from 0 to limit - 1 (Lemire, "Fast random integer generation in an interval", 2019, without the rejection:
  /// the bias is below 2^-32 for the small limits that machines use).
  std::uint64_t below(std::uint64_t limit) {
    REQUIRE(limit > 0);
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>((*this)()) * limit) >> 64);
  }
  /// From 0 up to but not 1.
  double fraction() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }

 private:
  std::uint64_t state_[4];
};

}  // namespace sluice
