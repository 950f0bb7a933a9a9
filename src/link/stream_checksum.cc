#include "link/stream_checksum.h"

#include "link/stream_checksum_avx2.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sluice::link {

struct StreamChecksum::State {
  XXH3_state_t hash;
};

StreamChecksum::StreamChecksum() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->hash); }
StreamChecksum::~StreamChecksum() = default;

void StreamChecksum::add(std::span<const std::byte> bytes) {
  static const bool wide = has_avx2();
  if (wide) return add_with_avx2(&state_->hash, bytes.data(), bytes.size());
  XXH3_64bits_update(&state_->hash, bytes.data(), bytes.size());  // fails for a null pointer only, which adds nothing
}

std::uint64_t StreamChecksum::value() const { return XXH3_64bits_digest(&state_->hash); }

}  // namespace sluice::link
