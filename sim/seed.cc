#include "sim/seed.h"

#include <cstdlib>

#include "base/random.h"

namespace sluice::sim {

std::uint64_t seed_from_env_or_random() {
  const char* text = std::getenv("SIM_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : random_seed();
}

}  // namespace sluice::sim
