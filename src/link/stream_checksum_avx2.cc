// This file alone is compiled with AVX2. It includes nothing of the standard library but <cstddef>, so that no inline
// function of that, compiled here, is used by the rest of the program on a processor without AVX2.
#include "link/stream_checksum_avx2.h"

#ifdef __AVX2__
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sluice::link {

bool has_avx2() { return __builtin_cpu_supports("avx2") != 0; }

void add_with_avx2(void* hash, const void* bytes, std::size_t size) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(hash), bytes, size);
}

}  // namespace sluice::link
#else
namespace sluice::link {

bool has_avx2() { return false; }

void add_with_avx2(void*, const void*, std::size_t) { __builtin_unreachable(); }

}  // namespace sluice::link
#endif
