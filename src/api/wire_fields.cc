#include "api/wire_fields.h"

#include <google/protobuf/io/coded_stream.h>

namespace sluice::api {
namespace {

using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

constexpr std::size_t kVarintSizeMax = 10;

CodedInputStream input_over(std::string_view bytes) {
  return CodedInputStream(reinterpret_cast<const std::uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
}

std::optional<WireValue> read_delimited(CodedInputStream& input, std::string_view bytes) {
  std::uint32_t size = 0;
  if (!input.ReadVarint32(&size)) return std::nullopt;
  auto begin = static_cast<std::size_t>(input.CurrentPosition());
  if (size > bytes.size() - begin || !input.Skip(static_cast<int>(size))) return std::nullopt;
  return WireValue{.type = WireType::delimited, .bytes = bytes.substr(begin, size)};
}

std::optional<WireValue> read_value(CodedInputStream& input, WireType type, std::string_view bytes) {
  WireValue value{.type = type};
  std::uint32_t four_bytes = 0;
  switch (type) {
    case WireType::varint:
      if (!input.ReadVarint64(&value.number)) return std::nullopt;
      return value;
    case WireType::fixed64:
      if (!input.ReadLittleEndian64(&value.number)) return std::nullopt;
      return value;
    case WireType::fixed32:
      if (!input.ReadLittleEndian32(&four_bytes)) return std::nullopt;
      value.number = four_bytes;
      return value;
    case WireType::delimited:
      return read_delimited(input, bytes);
  }
  return std::nullopt;  // a group, which proto3 does not have, or no type at all
}

bool at_end(CodedInputStream& input, std::string_view bytes) {
  return static_cast<std::size_t>(input.CurrentPosition()) == bytes.size();
}

}  // namespace

std::optional<WireFields> decode_wire(std::string_view bytes) {
  WireFields fields;
  CodedInputStream input = input_over(bytes);
  while (!at_end(input, bytes)) {
    std::uint32_t tag = 0;
    if (!input.ReadVarint32(&tag) || tag >> 3 == 0) return std::nullopt;
    auto value = read_value(input, static_cast<WireType>(tag & 7), bytes);
    if (!value) return std::nullopt;
    value->end = static_cast<std::size_t>(input.CurrentPosition());
    fields[tag >> 3].push_back(*value);
  }
  return fields;
}

std::optional<std::vector<WireValue>> decode_packed(std::string_view bytes, WireType element) {
  std::vector<WireValue> values;
  CodedInputStream input = input_over(bytes);
  while (!at_end(input, bytes)) {
    auto value = read_value(input, element, bytes);
    if (!value) return std::nullopt;
    values.push_back(*value);
  }
  return values;
}

void append_varint(std::string& to, std::uint64_t value) {
  std::uint8_t buffer[kVarintSizeMax];
  const std::uint8_t* end = CodedOutputStream::WriteVarint64ToArray(value, buffer);
  to.append(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(end - buffer));
}

void append_tag(std::string& to, std::uint32_t field_number, WireType type) {
  append_varint(to, std::uint64_t{field_number} << 3 | static_cast<std::uint64_t>(type));
}

void append_delimited(std::string& to, std::uint32_t field_number, std::string_view bytes) {
  append_tag(to, field_number, WireType::delimited);
  append_varint(to, bytes.size());
  to.append(bytes);
}

void append_fixed32(std::string& to, std::uint32_t value) {
  std::uint8_t buffer[sizeof value];
  CodedOutputStream::WriteLittleEndian32ToArray(value, buffer);
  to.append(reinterpret_cast<const char*>(buffer), sizeof buffer);
}

void append_fixed64(std::string& to, std::uint64_t value) {
  std::uint8_t buffer[sizeof value];
  CodedOutputStream::WriteLittleEndian64ToArray(value, buffer);
  to.append(reinterpret_cast<const char*>(buffer), sizeof buffer);
}

}  // namespace sluice::api
