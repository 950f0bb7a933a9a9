#include "api/json_scalar.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/base64.h"
#include "base/require.h"
#include "base/spelling.h"

namespace sluice::api {
namespace {

// What of a value is shown in an error.
constexpr std::size_t kShownMax = 40;

std::string shown(const JsonScalar& value) {
  if (auto* text = std::get_if<std::string_view>(&value))
    return "'" + std::string(text->substr(0, kShownMax)) + (text->size() > kShownMax ? "...'" : "'");
  if (auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  if (auto* number = std::get_if<std::uint64_t>(&value)) return std::to_string(*number);
  char buffer[32];
  auto written = std::to_chars(std::begin(buffer), std::end(buffer), std::get<double>(value));
  return {buffer, written.ptr};
}

std::unexpected<std::string> refused(const char* takes, const JsonScalar& value) {
  return std::unexpected(std::string("takes ") + takes + ", not " + shown(value));
}

template <class Number>
std::optional<Number> parse_whole(std::string_view text) {
  Number number{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool digit_at(std::string_view text, std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '9'; }

// from_chars also reads "inf", ".5" and "1.", which are no JSON.
std::optional<double> parse_decimal(std::string_view text) {
  std::size_t point = text.find('.');
  bool digits_where_needed =
      digit_at(text, text.starts_with('-') ? 1 : 0) && (point == text.npos || digit_at(text, point + 1));
  return digits_where_needed ? parse_whole<double>(text) : std::nullopt;
}

// Up to here a double holds every integer, and a fraction besides: what looks like an integer was one.
constexpr double kExactMax = 9007199254740992.0;

// A number with a point or an exponent is an integer if nothing is lost: 1.0, 1e3.
template <class Integer>
std::optional<Integer> exactly(double number) {
  if (!(std::abs(number) <= kExactMax) || std::trunc(number) != number) return std::nullopt;
  auto integer = static_cast<std::int64_t>(number);
  if (!std::in_range<Integer>(integer)) return std::nullopt;
  return static_cast<Integer>(integer);
}

// Whether a decimal has digits other than 0 behind its point, once the exponent has moved that. A double may have rounded
// them away. Requires that the text is a decimal.
bool has_fraction(std::string_view text) {
  std::size_t letter = text.find_first_of("eE");
  std::string_view mantissa = text.substr(0, letter);
  long long exponent = 0;
  if (letter != text.npos) {
    std::string_view power = text.substr(letter + 1);
    if (power.starts_with('+')) power.remove_prefix(1);
    exponent = parse_whole<int>(power).value_or(0);  // one that does not fit makes 0 or no number of it
  }
  std::size_t point = mantissa.find('.');
  std::string digits(mantissa.substr(0, point));
  std::string_view behind = point == mantissa.npos ? std::string_view() : mantissa.substr(point + 1);
  digits += behind;
  long long cut = static_cast<long long>(behind.size()) - exponent;
  if (cut <= 0) return false;
  std::size_t kept = digits.size() - std::min(digits.size(), static_cast<std::size_t>(cut));
  return digits.find_first_not_of("-0", kept) != digits.npos;
}

template <class Integer>
struct IntegerFrom {
  std::optional<Integer> operator()(bool) const { return std::nullopt; }
  std::optional<Integer> operator()(std::int64_t number) const { return narrowed(number); }
  std::optional<Integer> operator()(std::uint64_t number) const { return narrowed(number); }
  std::optional<Integer> operator()(double number) const { return exactly<Integer>(number); }
  std::optional<Integer> operator()(std::string_view text) const {
    if (auto number = parse_whole<Integer>(text)) return number;
    auto number = parse_decimal(text);
    if (number && has_fraction(text)) return std::nullopt;
    return number ? exactly<Integer>(*number) : std::nullopt;
  }

 private:
  template <class From>
  static std::optional<Integer> narrowed(From number) {
    if (!std::in_range<Integer>(number)) return std::nullopt;
    return static_cast<Integer>(number);
  }
};

struct DoubleFrom {
  std::optional<double> operator()(bool) const { return std::nullopt; }
  std::optional<double> operator()(std::int64_t number) const { return static_cast<double>(number); }
  std::optional<double> operator()(std::uint64_t number) const { return static_cast<double>(number); }
  std::optional<double> operator()(double number) const { return number; }
  std::optional<double> operator()(std::string_view text) const {
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
    return parse_decimal(text);
  }
};

EncodedScalar varint(std::uint64_t value) {
  EncodedScalar encoded;
  append_varint(encoded.bytes, value);
  return encoded;
}

EncodedScalar fixed32(std::uint32_t value) {
  EncodedScalar encoded{.type = WireType::fixed32};
  append_fixed32(encoded.bytes, value);
  return encoded;
}

EncodedScalar fixed64(std::uint64_t value) {
  EncodedScalar encoded{.type = WireType::fixed64};
  append_fixed64(encoded.bytes, value);
  return encoded;
}

std::uint64_t zigzag(std::int64_t value) {
  return static_cast<std::uint64_t>(value) << 1 ^ static_cast<std::uint64_t>(value >> 63);
}

/// A negative number of 32 bits takes ten bytes on the wire, like the one of 64.
std::uint64_t extended(std::int64_t value) { return static_cast<std::uint64_t>(value); }

template <class Integer, class Encode>
std::expected<EncodedScalar, std::string> encode_integer(const char* takes, const JsonScalar& value, Encode encode) {
  auto number = std::visit(IntegerFrom<Integer>{}, value);
  if (!number) return refused(takes, value);
  return encode(*number);
}

std::expected<EncodedScalar, std::string> encode_double(const JsonScalar& value) {
  auto number = std::visit(DoubleFrom{}, value);
  if (!number) return refused("a number", value);
  return fixed64(std::bit_cast<std::uint64_t>(*number));
}

// What is nearer to the largest float than to the next power of two is rounded to it: 3.40282347e+38 is how it is
// commonly written, and a little larger.
constexpr double kFloatPast = 0x1.ffffffp127;

std::expected<EncodedScalar, std::string> encode_float(const JsonScalar& value) {
  auto number = std::visit(DoubleFrom{}, value);
  bool too_large = number && std::isfinite(*number) && std::abs(*number) >= kFloatPast;
  if (!number || too_large) return refused("a number of single precision", value);
  return fixed32(std::bit_cast<std::uint32_t>(static_cast<float>(*number)));
}

std::expected<EncodedScalar, std::string> encode_enumeration(const EnumType& type, const JsonScalar& value) {
  auto* name = std::get_if<std::string_view>(&value);
  if (!name)
    return encode_integer<std::int32_t>("the name or number of a value", value,
                                        [](std::int32_t number) { return varint(extended(number)); });
  if (const std::int32_t* number = type.number_of(*name)) return varint(extended(*number));
  std::vector<std::string> names;
  for (const auto& [known, number] : type.values) names.push_back(known);
  return std::unexpected("takes a value of " + type.name + ", not " + shown(value) + did_you_mean(*name, names));
}

std::expected<EncodedScalar, std::string> encode_text(const Field& field, const JsonScalar& value) {
  auto* text = std::get_if<std::string_view>(&value);
  if (!text) return refused("a string", value);
  if (field.type == FieldType::string) return EncodedScalar{WireType::delimited, std::string(*text)};
  auto bytes = bytes_from_base64(*text);
  if (!bytes) return refused("bytes in base64", value);
  return EncodedScalar{WireType::delimited, std::move(*bytes)};
}

constexpr const char* kInt32 = "an integer of 32 bits";
constexpr const char* kUint32 = "an integer of 32 bits without a sign";
constexpr const char* kInt64 = "an integer of 64 bits";
constexpr const char* kUint64 = "an integer of 64 bits without a sign";

}  // namespace

std::expected<EncodedScalar, std::string> encode_scalar(const Field& field, const JsonScalar& value) {
  REQUIRE(field.type != FieldType::message);
  using I32 = std::int32_t;
  using U32 = std::uint32_t;
  using I64 = std::int64_t;
  using U64 = std::uint64_t;
  switch (field.type) {
    case FieldType::double_number:
      return encode_double(value);
    case FieldType::float_number:
      return encode_float(value);
    case FieldType::int64:
      return encode_integer<I64>(kInt64, value, [](I64 number) { return varint(extended(number)); });
    case FieldType::uint64:
      return encode_integer<U64>(kUint64, value, [](U64 number) { return varint(number); });
    case FieldType::int32:
      return encode_integer<I32>(kInt32, value, [](I32 number) { return varint(extended(number)); });
    case FieldType::fixed64:
      return encode_integer<U64>(kUint64, value, [](U64 number) { return fixed64(number); });
    case FieldType::fixed32:
      return encode_integer<U32>(kUint32, value, [](U32 number) { return fixed32(number); });
    case FieldType::uint32:
      return encode_integer<U32>(kUint32, value, [](U32 number) { return varint(number); });
    case FieldType::sfixed32:
      return encode_integer<I32>(kInt32, value, [](I32 number) { return fixed32(static_cast<U32>(number)); });
    case FieldType::sfixed64:
      return encode_integer<I64>(kInt64, value, [](I64 number) { return fixed64(static_cast<U64>(number)); });
    case FieldType::sint32:
      return encode_integer<I32>(kInt32, value, [](I32 number) { return varint(zigzag(number)); });
    case FieldType::sint64:
      return encode_integer<I64>(kInt64, value, [](I64 number) { return varint(zigzag(number)); });
    case FieldType::boolean:
      if (!std::holds_alternative<bool>(value)) return refused("true or false", value);
      return varint(std::get<bool>(value) ? 1 : 0);
    case FieldType::enumeration:
      return encode_enumeration(*field.enumeration, value);
    default:
      return encode_text(field, value);
  }
}

std::expected<EncodedScalar, std::string> encode_map_key(const Field& key, std::string_view text) {
  if (key.type == FieldType::boolean && (text == "true" || text == "false")) return encode_scalar(key, text == "true");
  return encode_scalar(key, text);
}

}  // namespace sluice::api
