#pragma once
// What the messages, enums and services of the public API consist of, read from the descriptors that protoc wrote.
//
// The descriptors lie in the binary as bytes and are read at first use: most runs of the program never need them.
// Only proto3 is read, and none of the types of google.protobuf that have a JSON form of their own: our API has neither.
// Threading: immutable once made.
#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/method_list.h"

namespace sluice::api {

/// The numbers of google.protobuf.FieldDescriptorProto.Type; a group (10) is not among them, proto3 has none.
enum class FieldType : std::uint8_t {
  double_number = 1,
  float_number = 2,
  int64 = 3,
  uint64 = 4,
  int32 = 5,
  fixed64 = 6,
  fixed32 = 7,
  boolean = 8,
  string = 9,
  message = 11,
  bytes = 12,
  uint32 = 13,
  enumeration = 14,
  sfixed32 = 15,
  sfixed64 = 16,
  sint32 = 17,
  sint64 = 18,
};

struct EnumType {
  std::string name;                                          // "sluice.v1.NodeState"
  std::vector<std::pair<std::string, std::int32_t>> values;  // as declared: the first one is the default

  const std::string* name_of(std::int32_t number) const;
  const std::int32_t* number_of(std::string_view value) const;
};

struct MessageType;

struct Field {
  std::string name;       // as in the .proto file
  std::string json_name;  // lowerCamelCase
  std::uint32_t number = 0;
  FieldType type = FieldType::string;
  bool repeated = false;
  bool has_presence = false;  // set to its default, it is told from not being set: messages, oneofs, `optional`
  int oneof = -1;             // which of its message's; -1: none
  const MessageType* message = nullptr;
  const EnumType* enumeration = nullptr;

  bool is_map() const;
  /// Repeated numbers lie in one length-delimited field.
  bool packable() const;
};

struct MessageType {
  std::string name;           // "sluice.v1.Node"
  std::vector<Field> fields;  // in the order of their numbers
  bool map_entry = false;

  /// By its name in JSON or in the .proto file.
  const Field* find(std::string_view field_name) const;
  const Field* find(std::uint32_t number) const;
};

/// The fields of a map's entry.
inline constexpr std::uint32_t kMapKey = 1;
inline constexpr std::uint32_t kMapValue = 2;

class Schema final {
 public:
  Schema() = default;
  Schema(Schema&&) = default;
  Schema& operator=(Schema&&) = default;
  Schema(const Schema&) = delete;  // its fields point into it
  Schema& operator=(const Schema&) = delete;

  /// From a serialized FileDescriptorSet that holds all that it refers to. Errors: it does not, or holds what we do not
  /// read; the sentence says which.
  static std::expected<Schema, std::string> parse(std::string_view descriptor_set);

  const MessageType* message(std::string_view name) const;
  const std::map<std::string, MessageType, std::less<>>& messages() const { return messages_; }
  const std::vector<ApiMethod>& methods() const { return methods_; }

 private:
  friend class SchemaReader;
  // Fields point into these: nodes of a map stay where they are, also when the map is moved.
  std::map<std::string, MessageType, std::less<>> messages_;
  std::map<std::string, EnumType, std::less<>> enums_;
  std::vector<ApiMethod> methods_;
};

/// Of sluice.v1.
const Schema& api_schema();
/// Its descriptors, as protoc wrote them.
std::string_view api_descriptor_set();

}  // namespace sluice::api
