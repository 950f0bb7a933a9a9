#pragma once
// One value of JSON that is neither object nor list, turned into the wire form of a field.
// Threading: pure functions.
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <variant>

#include "api/schema.h"
#include "api/wire_fields.h"

namespace sluice::api {

/// Integers come in the narrower of the two that holds them, as a JSON parser gives them; null is not among them.
using JsonScalar = std::variant<bool, std::int64_t, std::uint64_t, double, std::string_view>;

struct EncodedScalar {
  WireType type = WireType::varint;
  std::string bytes;  // without the tag; of a delimited one without its length
};

/// Requires: the field is no message; whether it is repeated does not count. Errors: what the field takes, and what was
/// given.
std::expected<EncodedScalar, std::string> encode_scalar(const Field& field, const JsonScalar& value);

/// A map's key: always a string in JSON. Errors: as above.
std::expected<EncodedScalar, std::string> encode_map_key(const Field& key, std::string_view text);

}  // namespace sluice::api
