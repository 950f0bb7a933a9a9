#pragma once
// Node ids of tests: known by a number.
#include <cstddef>
#include <cstdint>

#include "base/id.h"

namespace sluice::cluster {

inline NodeId node(std::uint64_t number) {
  NodeId id;
  for (std::size_t i = 0; i < 8; ++i) id.bytes[i] = static_cast<std::uint8_t>(number >> (8 * i));
  return id;
}

}  // namespace sluice::cluster
