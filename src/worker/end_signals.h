#pragma once
// SIGTERM and SIGINT for a library that lives in somebody else's program: the first asks whoever holds one of these to
// end; with it both get the effect back that they had, so that a second one has that.
//
// Only a signal that has its default effect is taken; it is put back when the last of these goes, if it is still ours.
// Threading: any. The one handler writes to descriptors, and calls sigaction(2).
#include <cstddef>
#include <optional>

namespace sluice::worker {

/// Of one program, at a time.
inline constexpr std::size_t kEndSignalsMax = 64;

class EndSignals final {
 public:
  /// `asked`, an eventfd(2) of the caller's, becomes readable with the first signal. Errors: there are kEndSignalsMax.
  static std::optional<EndSignals> watch(int asked);
  EndSignals(EndSignals&& other) noexcept;
  EndSignals& operator=(EndSignals&&) = delete;
  ~EndSignals();

 private:
  explicit EndSignals(std::size_t place) : place_(place) {}
  std::optional<std::size_t> place_;
};

}  // namespace sluice::worker
