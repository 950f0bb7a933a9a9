#include "api/schema.h"

#include <descriptor_set.pb.h>

#include <algorithm>

#include "base/require.h"

namespace sluice::api {

extern const unsigned char kDescriptorSet[];
extern const std::size_t kDescriptorSetSize;

namespace {

namespace pb = sluice::descriptor;

constexpr int kLabelRepeated = 3;
constexpr int kTypeGroup = 10;
constexpr int kTypeLast = 18;
// protoc nests no deeper than a person writes; this only bounds the recursion over bytes from elsewhere.
constexpr int kNestingMax = 32;

// A reference is a full name with a leading dot: protoc has resolved it.
std::string_view without_dot(std::string_view name) { return name.substr(name.starts_with('.') ? 1 : 0); }

std::string qualified(std::string_view scope, std::string_view name) {
  return scope.empty() ? std::string(name) : std::string(scope) + "." + std::string(name);
}

}  // namespace

const std::string* EnumType::name_of(std::int32_t number) const {
  auto found = std::ranges::find(values, number, [](const auto& value) { return value.second; });
  return found == values.end() ? nullptr : &found->first;
}

const std::int32_t* EnumType::number_of(std::string_view value) const {
  auto found = std::ranges::find(values, value, [](const auto& entry) { return std::string_view(entry.first); });
  return found == values.end() ? nullptr : &found->second;
}

bool Field::is_map() const { return repeated && message != nullptr && message->map_entry; }

bool Field::packable() const {
  return repeated && type != FieldType::string && type != FieldType::bytes && type != FieldType::message;
}

const Field* MessageType::find(std::string_view field_name) const {
  auto found = std::ranges::find_if(
      fields, [&](const Field& field) { return field.json_name == field_name || field.name == field_name; });
  return found == fields.end() ? nullptr : &*found;
}

const Field* MessageType::find(std::uint32_t number) const {
  auto found = std::ranges::lower_bound(fields, number, {}, &Field::number);
  return found != fields.end() && found->number == number ? &*found : nullptr;
}

/// Two passes: every type gets its place first, since fields refer to types that stand further below.
class SchemaReader final {
 public:
  std::expected<Schema, std::string> read(std::string_view bytes) {
    pb::FileDescriptorSet set;
    if (!set.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
      return std::unexpected("the bytes are no descriptor set");
    for (const pb::FileDescriptorProto& file : set.file()) declare(file);
    for (const pb::FileDescriptorProto& file : set.file()) define(file);
    std::ranges::sort(schema_.methods_, {}, &ApiMethod::name);
    if (!error_.empty()) return std::unexpected(error_);
    return std::move(schema_);
  }

 private:
  void fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
  }

  void declare(const pb::FileDescriptorProto& file) {
    if (file.syntax() != "proto3") fail("'" + file.name() + "' is not in proto3");
    for (const auto& type : file.message_type()) declare(type, file.package(), 0);
    for (const auto& type : file.enum_type()) declare(type, file.package());
  }

  void declare(const pb::DescriptorProto& type, const std::string& scope, int depth) {
    std::string name = qualified(scope, type.name());
    if (depth > kNestingMax) return fail("'" + name + "' is nested too deeply");
    schema_.messages_[name] = {.name = name, .map_entry = type.options().map_entry()};
    for (const auto& nested : type.nested_type()) declare(nested, name, depth + 1);
    for (const auto& nested : type.enum_type()) declare(nested, name);
  }

  void declare(const pb::EnumDescriptorProto& type, const std::string& scope) {
    EnumType made{.name = qualified(scope, type.name())};
    for (const auto& value : type.value()) made.values.emplace_back(value.name(), value.number());
    if (made.values.empty()) return fail("'" + made.name + "' has no values");
    schema_.enums_[made.name] = std::move(made);
  }

  void define(const pb::FileDescriptorProto& file) {
    if (!error_.empty()) return;
    for (const auto& type : file.message_type()) define(type, file.package());
    for (const auto& service : file.service()) define(service, file.package());
  }

  void define(const pb::DescriptorProto& type, const std::string& scope) {
    MessageType& made = schema_.messages_.find(qualified(scope, type.name()))->second;
    made.fields.clear();
    for (const auto& field : type.field()) define(field, made);
    std::ranges::sort(made.fields, {}, &Field::number);
    for (const auto& nested : type.nested_type()) define(nested, made.name);
    if (made.map_entry && (!made.find(kMapKey) || !made.find(kMapValue)))
      fail("'" + made.name + "' is no entry of a map");
  }

  void define(const pb::FieldDescriptorProto& field, MessageType& of) {
    if (field.type() < 1 || field.type() > kTypeLast || field.type() == kTypeGroup || field.number() < 1)
      return fail("field '" + field.name() + "' of '" + of.name + "' has a type or number that we do not know");
    Field made{.name = field.name(),
               .json_name = field.json_name(),
               .number = static_cast<std::uint32_t>(field.number()),
               .type = static_cast<FieldType>(field.type()),
               .repeated = field.label() == kLabelRepeated};
    made.has_presence = !made.repeated && (made.type == FieldType::message || field.has_oneof_index());
    // An `optional` field is the only member of a oneof that protoc made up.
    if (field.has_oneof_index() && !field.proto3_optional()) made.oneof = field.oneof_index();
    resolve(made, without_dot(field.type_name()), of);
    of.fields.push_back(std::move(made));
  }

  void resolve(Field& field, std::string_view type_name, const MessageType& of) {
    if (field.type == FieldType::message) field.message = schema_.message(type_name);
    auto enumeration = schema_.enums_.find(type_name);
    if (field.type == FieldType::enumeration && enumeration != schema_.enums_.end())
      field.enumeration = &enumeration->second;
    bool lacks_type = (field.type == FieldType::message && !field.message) ||
                      (field.type == FieldType::enumeration && !field.enumeration);
    if (lacks_type || type_name.starts_with("google.protobuf."))
      fail("field '" + field.name + "' of '" + of.name + "' has the unknown type '" + std::string(type_name) + "'");
  }

  void define(const pb::ServiceDescriptorProto& service, const std::string& package) {
    for (const auto& method : service.method()) {
      for (std::string_view type : {without_dot(method.input_type()), without_dot(method.output_type())})
        if (!schema_.message(type))
          fail("method '" + method.name() + "' has the unknown type '" + std::string(type) + "'");
      schema_.methods_.push_back({.name = qualified(package, service.name()) + "/" + method.name(),
                                  .request_type = std::string(without_dot(method.input_type())),
                                  .response_type = std::string(without_dot(method.output_type())),
                                  .client_streams = method.client_streaming(),
                                  .server_streams = method.server_streaming()});
    }
  }

  Schema schema_;
  std::string error_;
};

std::expected<Schema, std::string> Schema::parse(std::string_view descriptor_set) {
  return SchemaReader().read(descriptor_set);
}

const MessageType* Schema::message(std::string_view name) const {
  auto found = messages_.find(name);
  return found == messages_.end() ? nullptr : &found->second;
}

std::string_view api_descriptor_set() { return {reinterpret_cast<const char*>(kDescriptorSet), kDescriptorSetSize}; }

const Schema& api_schema() {
  static const Schema schema = [] {
    auto parsed = Schema::parse(api_descriptor_set());
    INVARIANT(parsed.has_value());  // the build put it there
    return std::move(*parsed);
  }();
  return schema;
}

}  // namespace sluice::api
