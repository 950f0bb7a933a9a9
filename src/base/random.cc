#include "base/random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>

namespace sluice {

void fill_random(std::span<std::uint8_t> into) {
  while (!into.empty()) {
    ssize_t got = ::getrandom(into.data(), into.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    REQUIRE(got > 0);  // Linux 3.17 and later have the call, and it has no other way to fail
    into = into.subspan(static_cast<std::size_t>(got));
  }
}

std::uint64_t random_seed() {
  std::uint8_t bytes[sizeof(std::uint64_t)];
  fill_random(bytes);
  std::uint64_t seed;
  std::memcpy(&seed, bytes, sizeof seed);
  return seed;
}

}  // namespace sluice
