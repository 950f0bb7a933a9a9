#pragma once
// The seed of a simulation: SIM_SEED replays one.
#include <cstdint>

namespace sluice::sim {

/// SIM_SEED from the environment, else a new one.
std::uint64_t seed_from_env_or_random();

}  // namespace sluice::sim
