#pragma once
// Base64 (RFC 4648 section 4), strict: one text for one value, no blanks, padding where it belongs.
// Threading: pure functions.
#include <optional>
#include <span>
#include <string_view>

#include "cluster/secret.h"

namespace sluice::cluster {

SecretText to_base64(std::span<const std::uint8_t> bytes);
/// Nothing if `text` is no base64, or not the only way to write its value.
std::optional<SecretText> from_base64(std::string_view text);

}  // namespace sluice::cluster
