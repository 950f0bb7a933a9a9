// From serialized messages to JSON.
#include <bit>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "api/base64.h"
#include "api/json_mapping.h"
#include "api/wire_fields.h"
#include "base/require.h"

namespace sluice::api {
namespace {

template <class Number>
void append_number(std::string& to, Number number) {
  char buffer[64];
  auto written = std::to_chars(std::begin(buffer), std::end(buffer), number);
  to.append(buffer, written.ptr);
}

// 64-bit integers are strings: a JSON number is a double to most readers, and holds 53 bits.
template <class Number>
void append_quoted_number(std::string& to, Number number) {
  to += '"';
  append_number(to, number);
  to += '"';
}

template <class Number>
void append_floating(std::string& to, Number number) {
  if (std::isnan(number))
    to += "\"NaN\"";
  else if (std::isinf(number))
    to += number > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  else if (number == 0 && std::signbit(number))
    to += "-0.0";  // to a JSON parser, -0 is an integer, which has no such zero
  else
    append_number(to, number);  // the shortest text that reads back as the same number
}

std::int64_t from_zigzag(std::uint64_t value) { return static_cast<std::int64_t>(value >> 1 ^ (0 - (value & 1))); }

void append_enumeration(std::string& to, const EnumType& type, std::int32_t number) {
  const std::string* name = type.name_of(number);
  if (name)
    append_json_string(to, *name);
  else
    append_number(to, number);  // from a newer version of the API
}

WireType wire_type_of(FieldType type) {
  switch (type) {
    case FieldType::double_number:
    case FieldType::fixed64:
    case FieldType::sfixed64:
      return WireType::fixed64;
    case FieldType::float_number:
    case FieldType::fixed32:
    case FieldType::sfixed32:
      return WireType::fixed32;
    case FieldType::string:
    case FieldType::bytes:
    case FieldType::message:
      return WireType::delimited;
    default:
      return WireType::varint;
  }
}

void append_scalar(std::string& to, const Field& field, const WireValue& value) {
  auto low = static_cast<std::uint32_t>(value.number);
  switch (field.type) {
    case FieldType::double_number:
      return append_floating(to, std::bit_cast<double>(value.number));
    case FieldType::float_number:
      return append_floating(to, std::bit_cast<float>(low));
    case FieldType::int64:
    case FieldType::sfixed64:
      return append_quoted_number(to, static_cast<std::int64_t>(value.number));
    case FieldType::uint64:
    case FieldType::fixed64:
      return append_quoted_number(to, value.number);
    case FieldType::sint64:
      return append_quoted_number(to, from_zigzag(value.number));
    case FieldType::int32:
    case FieldType::sfixed32:
      return append_number(to, static_cast<std::int32_t>(low));
    case FieldType::uint32:
    case FieldType::fixed32:
      return append_number(to, low);
    case FieldType::sint32:
      return append_number(to, static_cast<std::int32_t>(from_zigzag(low)));
    case FieldType::boolean:
      to += value.number != 0 ? "true" : "false";
      return;
    case FieldType::enumeration:
      return append_enumeration(to, *field.enumeration, static_cast<std::int32_t>(low));
    case FieldType::string:
      return append_json_string(to, value.bytes);
    case FieldType::bytes:
      to += '"';
      append_base64(to, value.bytes);
      to += '"';
      return;
    case FieldType::message:
      break;
  }
  INVARIANT(field.type != FieldType::message);  // the caller writes those
}

// Of a oneof's members the one that came last counts, and of what it was given only that which came after the others.
void drop_overruled(const MessageType& type, WireFields& wire) {
  std::map<int, std::map<std::size_t, std::uint32_t>> members;  // of each oneof, by where they were set last
  for (const Field& field : type.fields)
    if (auto found = wire.find(field.number); field.oneof >= 0 && found != wire.end())
      members[field.oneof][found->second.back().end] = field.number;
  for (auto& [oneof, by_end] : members) {
    std::uint32_t winner = by_end.rbegin()->second;
    by_end.erase(std::prev(by_end.end()));
    for (const auto& [end, loser] : by_end) {
      std::erase_if(wire[winner], [end = end](const WireValue& value) { return value.end < end; });
      wire.erase(loser);
    }
  }
}

bool is_default(const WireValue& value) { return value.number == 0 && value.bytes.empty(); }

class JsonWriter final {
 public:
  explicit JsonWriter(ToJsonOptions options) : options_(options) {}

  bool write_message(const MessageType& type, std::string_view bytes, std::size_t depth) {
    auto wire = decode_wire(bytes);
    if (!wire || depth > kJsonDepthMax) return fail(type.name);
    drop_overruled(type, *wire);
    out_ += '{';
    bool first = true;
    for (const Field& field : type.fields) {
      auto found = wire->find(field.number);
      bool present = found != wire->end();
      if (!is_printed(field, present ? &found->second : nullptr)) continue;
      if (!std::exchange(first, false)) out_ += ',';
      append_json_string(out_, field.json_name);
      out_ += ':';
      if (!write_field(field, present ? found->second : kNoValues, depth)) return fail(type.name + "." + field.name);
    }
    out_ += '}';
    return true;
  }

  std::string take() { return std::move(out_); }
  const std::string& error() const { return error_; }

 private:
  static inline const std::vector<WireValue> kNoValues;

  // The innermost failure is the one that says where.
  bool fail(const std::string& where) {
    if (error_.empty()) error_ = "the bytes are no message: '" + where + "' can't be read";
    return false;
  }

  bool is_printed(const Field& field, const std::vector<WireValue>* values) const {
    if (field.has_presence) return values != nullptr;
    if (options_.print_defaults) return true;
    if (!values) return false;
    return field.repeated || !is_default(values->back());
  }

  bool write_field(const Field& field, const std::vector<WireValue>& values, std::size_t depth) {
    if (field.is_map()) return write_map(field, values, depth);
    if (field.repeated) return write_list(field, values, depth);
    if (field.message) return write_merged(field, values, depth);
    if (values.empty()) return write_default(field);
    return write_value(field, values.back(), depth);
  }

  bool write_default(const Field& field) {
    if (field.type == FieldType::enumeration)
      append_json_string(out_, field.enumeration->values.front().first);
    else
      append_scalar(out_, field, WireValue{});
    return true;
  }

  // A message that comes in parts is their sum, which on the wire is their concatenation.
  bool write_merged(const Field& field, const std::vector<WireValue>& parts, std::size_t depth) {
    std::string whole;
    for (const WireValue& part : parts) {
      if (part.type != WireType::delimited) return false;
      if (parts.size() > 1) whole += part.bytes;
    }
    return write_message(*field.message, parts.size() == 1 ? parts.front().bytes : std::string_view(whole), depth + 1);
  }

  bool write_value(const Field& field, const WireValue& value, std::size_t depth) {
    if (value.type != wire_type_of(field.type)) return false;
    if (field.message) return write_message(*field.message, value.bytes, depth + 1);
    append_scalar(out_, field, value);
    return true;
  }

  bool write_list(const Field& field, const std::vector<WireValue>& values, std::size_t depth) {
    out_ += '[';
    bool first = true;
    for (const WireValue& value : values) {
      bool packed = field.packable() && value.type == WireType::delimited;
      auto elements = packed ? decode_packed(value.bytes, wire_type_of(field.type)) : std::vector<WireValue>{value};
      if (!elements) return false;
      for (const WireValue& element : *elements) {
        if (!std::exchange(first, false)) out_ += ',';
        if (!write_value(field, element, depth + 1)) return false;
      }
    }
    out_ += ']';
    return true;
  }

  bool write_map(const Field& field, const std::vector<WireValue>& values, std::size_t depth) {
    std::map<std::string, std::string_view> entries;  // by key, as it is printed; of equal ones the last counts
    for (const WireValue& value : values) {
      auto key = value.type == WireType::delimited ? key_text(*field.message, value.bytes) : std::nullopt;
      if (!key) return false;
      entries[*key] = value.bytes;
    }
    out_ += '{';
    bool first = true;
    for (const auto& [key, entry] : entries) {
      if (!std::exchange(first, false)) out_ += ',';
      out_ += key;
      out_ += ':';
      if (!write_entry_value(*field.message, entry, depth + 1)) return false;
    }
    out_ += '}';
    return true;
  }

  static std::optional<std::string> key_text(const MessageType& entry, std::string_view bytes) {
    auto wire = decode_wire(bytes);
    if (!wire) return std::nullopt;
    const Field& key = *entry.find(kMapKey);
    WireValue value{.type = wire_type_of(key.type)};
    if (auto found = wire->find(kMapKey); found != wire->end()) value = found->second.back();
    if (value.type != wire_type_of(key.type)) return std::nullopt;
    std::string text;
    append_scalar(text, key, value);
    return text.starts_with('"') ? text : '"' + text + '"';  // a key is a string, whatever its type
  }

  bool write_entry_value(const MessageType& entry, std::string_view bytes, std::size_t depth) {
    auto wire = decode_wire(bytes);
    const Field& value = *entry.find(kMapValue);
    auto found = wire->find(kMapValue);
    if (found != wire->end()) return write_field(value, found->second, depth);
    if (value.message) return write_message(*value.message, {}, depth + 1);
    return write_default(value);
  }

  ToJsonOptions options_;
  std::string out_;
  std::string error_;
};

}  // namespace

void append_json_string(std::string& to, std::string_view text) {
  to += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::expected<std::string, std::string> message_to_json(const Schema& schema, std::string_view type,
                                                        std::string_view bytes, ToJsonOptions options) {
  const MessageType* message = schema.message(type);
  REQUIRE(message != nullptr);
  JsonWriter writer(options);
  if (!writer.write_message(*message, bytes, 1)) return std::unexpected(writer.error());
  return writer.take();
}

}  // namespace sluice::api
