#pragma once
// A serialized message taken apart: the fields that it carries, by number, without knowing its type.
// Source: https://protobuf.dev/programming-guides/encoding/
// Threading: pure functions.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::api {

enum class WireType : std::uint8_t { varint = 0, fixed64 = 1, delimited = 2, fixed32 = 5 };

struct WireValue {
  WireType type = WireType::varint;
  std::uint64_t number = 0;  // of any type but delimited
  std::string_view bytes;    // of a delimited one; points into what was decoded
  std::size_t end = 0;       // where it ended: says which of two came later
};

using WireFields = std::map<std::uint32_t, std::vector<WireValue>>;

/// Nothing: the bytes are no message of any type.
std::optional<WireFields> decode_wire(std::string_view bytes);
/// The elements of a packed field, each of the type `element`. Nothing: they are no row of such elements.
std::optional<std::vector<WireValue>> decode_packed(std::string_view bytes, WireType element);

void append_varint(std::string& to, std::uint64_t value);
void append_tag(std::string& to, std::uint32_t field_number, WireType type);
/// Tag, length and bytes.
void append_delimited(std::string& to, std::uint32_t field_number, std::string_view bytes);
/// Four or eight bytes, the lowest first.
void append_fixed32(std::string& to, std::uint32_t value);
void append_fixed64(std::string& to, std::uint64_t value);

}  // namespace sluice::api
