#pragma once
// Keys from keys: HKDF with SHA-256 (RFC 5869), without a salt. `info` says what the derived key is for, so that no two
// uses ever share one.
// Threading: pure functions.
#include <span>
#include <string_view>

#include "cluster/secret.h"

namespace sluice::cluster {

void derive_key(std::span<const std::uint8_t> from, std::string_view info, std::span<std::uint8_t> into);

template <class Derived, class Tag>
Derived derive(const Secret<Tag>& from, std::string_view info) {
  return Derived::filled_by([&](std::span<std::uint8_t> into) { derive_key(from.bytes(), info, into); });
}

}  // namespace sluice::cluster
