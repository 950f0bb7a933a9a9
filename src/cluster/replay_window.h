#pragma once
// Which counters of one sender were seen already: a sliding window of bits, after RFC 6479 (a ring of words of which one is
// spare, so that the window moves by clearing whole words and shifts nothing).
// Invariant: a counter is accepted at most once; one that is kReplayWindow or more behind the greatest never.
// Threading: a value.
#include <array>
#include <cstddef>
#include <cstdint>

namespace sluice::cluster {

inline constexpr std::size_t kReplayWords = 8;
/// Datagrams that may overtake one another. A node sends a few dozen a second, and its counter counts those to everyone, so
/// this is some seconds.
inline constexpr std::uint64_t kReplayWindow = 64 * (kReplayWords - 1);

class ReplayWindow final {
 public:
  /// Whether `counter` would be accepted. 0 never is.
  bool is_new(std::uint64_t counter) const;
  /// Remembers it. Requires: is_new.
  void accept(std::uint64_t counter);

 private:
  std::array<std::uint64_t, kReplayWords> words_{};
  std::uint64_t greatest_ = 0;
};

}  // namespace sluice::cluster
