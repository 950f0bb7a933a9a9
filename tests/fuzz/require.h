#pragma once
// What a fuzz target says must hold of every input. Whatever the build type, the program ends where it does not, so that
// libFuzzer keeps the input and a replay of the corpus fails.
#include <cstdio>
#include <cstdlib>

namespace sluice::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

}  // namespace sluice::fuzz
