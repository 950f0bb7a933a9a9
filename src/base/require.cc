#include "base/require.h"

#include <cstdio>
#include <cstdlib>

namespace sluice {

void assertion_failed(const char* kind, const char* condition, const char* file, int line) {
  std::fprintf(stderr, "sluice: bug: %s failed: %s (%s:%d); please report it\n", kind, condition, file, line);
  std::abort();
}

}  // namespace sluice
