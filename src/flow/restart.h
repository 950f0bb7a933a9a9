#pragma once
// Whether a worker that ends is started anew (`restart` in a flow file).
#include <cstdint>

namespace sluice::flow {

enum class Restart : std::uint8_t {
  never,
  on_failure,  // unless it has left in good order
  always,
};

}  // namespace sluice::flow
