#pragma once
// Protobuf's JSON mapping (https://protobuf.dev/programming-guides/proto3/#json) between JSON text and serialized
// messages, by the name of their type.
//
// It is written on protobuf's small runtime and our own schema: the library's own needs the full one, whose static
// initialisers every start of the program would pay for. In tests the two are compared.
// Stricter than the library where JSON is ambiguous: a field or key that occurs twice is refused, and a boolean is not
// read from a string.
// Threading: pure functions.
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

#include "api/schema.h"

namespace sluice::api {

/// Objects and lists inside each other, in either direction.
inline constexpr std::size_t kJsonDepthMax = 100;

struct ToJsonOptions {
  bool print_defaults = false;  // fields that are not set, but for those where that has a meaning of its own
};

/// One line of JSON, the fields in the order of their numbers. Text that is not UTF-8 is mended, since JSON can't hold it.
/// Requires: the schema has the type. Errors: the bytes are no message of that type; a sentence says where.
std::expected<std::string, std::string> message_to_json(const Schema& schema, std::string_view type,
                                                        std::string_view bytes, ToJsonOptions options = {});

/// Requires: the schema has the type. Errors: a sentence for the caller that names the field; or the message would be
/// larger than `size_max` bytes.
std::expected<std::string, std::string> message_from_json(const Schema& schema, std::string_view type,
                                                          std::string_view json, std::size_t size_max);

/// `text` as a JSON string, quotes included, behind `to`.
void append_json_string(std::string& to, std::string_view text);

}  // namespace sluice::api
