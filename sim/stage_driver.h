#pragma once
// What a stage of a simulated flow does: there is a driver for each role, that of workers, `@map` and `@each` around
// the machine that the real stage has too.
// Threading: one thread.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/flow_course.h"

namespace sluice::sim {

/// Drawn for each stage when the flow begins.
struct WorkLimits {
  std::uint32_t retries = 0;
  std::uint32_t part_max = 1;
};
constexpr Duration kBackoffFirst = std::chrono::milliseconds(2), kBackoffMax = std::chrono::milliseconds(50);

class StageDriver {
 public:
  virtual ~StageDriver() = default;

  /// All that can be done now. False: nothing.
  virtual bool work() = 0;
  virtual void on_event(const FlowEvent& event) = 0;
  /// The stage has left the flow: its processes end, and it starts none.
  virtual void stop() {}

  /// What it holds, and can hold no more of before something comes from these stages.
  struct Full {
    std::size_t held = 0, held_max = 0;
    std::vector<std::size_t> lacks;
  };
  virtual std::optional<Full> full() const { return std::nullopt; }
  /// Requires: the stage is not over.
  virtual void check() const {}
  virtual std::string describe() const { return {}; }
};

}  // namespace sluice::sim
