#pragma once
// Base64 as protobuf's JSON mapping has it: written by RFC 4648 section 4, read by that or by section 5 (safe in URLs),
// with or without padding. What a certificate or a key needs is stricter and stands in cluster/.
// Threading: pure functions.
#include <optional>
#include <string>
#include <string_view>

namespace sluice::api {

void append_base64(std::string& to, std::string_view bytes);
/// Nothing: the text is not base64.
std::optional<std::string> bytes_from_base64(std::string_view text);

}  // namespace sluice::api
