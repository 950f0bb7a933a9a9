#pragma once
// XXH3 with the AVX2 instructions of x86-64: three times as fast as with SSE2, which is what every such processor has.
// Threading: as the hash that it is given.
#include <cstddef>

namespace sluice::link {

/// Whether this processor has them; never on another architecture.
bool has_avx2();

/// Adds bytes to an XXH3_state_t. Requires: has_avx2().
void add_with_avx2(void* hash, const void* bytes, std::size_t size);

}  // namespace sluice::link
