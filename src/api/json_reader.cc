// From JSON to serialized messages, while the text is parsed: no tree of it is built, so that what a caller sends takes
// about its own size in memory, whatever it looks like.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "api/json_mapping.h"
#include "api/json_scalar.h"
#include "api/wire_fields.h"
#include "base/require.h"
#include "base/spelling.h"

namespace sluice::api {
namespace {

constexpr std::size_t kParserMessageMax = 200;

/// Where the parser is: inside a message, or inside a field's list or map, which stands in its message.
struct Frame {
  enum class Kind { message, list, map };

  Kind kind = Kind::message;
  const MessageType* type = nullptr;             // of a message
  const Field* field = nullptr;                  // message: whose value comes next; list, map: whose value this is
  std::string bytes;                             // message: its fields so far; list: its packed numbers so far
  std::set<std::uint32_t> fields_seen = {};      // message
  std::map<int, const Field*> oneofs_seen = {};  // message
  std::set<std::string> keys_seen = {};          // map: in wire form
  std::string key = {};                          // map: of the entry whose value comes next, as JSON has it
  std::string key_bytes = {};                    // the same as the entry's first field
  std::size_t elements = 0;                      // list: before the one that comes next
};

/// What nlohmann::json's parser calls; each says whether to go on.
class JsonReader final {
 public:
  JsonReader(const MessageType& root, std::size_t size_max) : root_(root), size_max_(size_max) {}

  bool null() {
    if (stack_.empty()) return fail("takes an object, not null");
    Frame& top = stack_.back();
    if (top.kind == Frame::Kind::message) return true;  // the same as leaving the field out
    return fail(top.kind == Frame::Kind::list ? "a list can't hold null" : "a map can't hold null");
  }
  bool boolean(bool value) { return scalar(value); }
  bool number_integer(std::int64_t value) { return scalar(value); }
  bool number_unsigned(std::uint64_t value) { return scalar(value); }
  bool number_float(double value, const std::string&) { return scalar(value); }
  bool string(std::string& value) { return scalar(std::string_view(value)); }
  bool binary(nlohmann::json::binary_t&) { return fail("is binary"); }

  bool start_object(std::size_t) {
    if (stack_.size() >= kJsonDepthMax) return fail("is nested too deeply");
    if (stack_.empty()) return push({.kind = Frame::Kind::message, .type = &root_});
    if (stack_.back().kind == Frame::Kind::message) {
      const Field* field = stack_.back().field;
      if (!claim_oneof(*field)) return false;
      if (field->is_map()) return push({.kind = Frame::Kind::map, .field = field});
      if (field->repeated) return fail("takes a list, not an object");
    }
    const Field& value = value_field();
    if (!value.message) return fail("takes no object");
    return push({.kind = Frame::Kind::message, .type = value.message});
  }

  bool key(std::string& name) { return stack_.back().kind == Frame::Kind::map ? map_key(name) : field_name(name); }

  bool end_object() {
    Frame ended = std::move(stack_.back());
    stack_.pop_back();
    if (ended.kind == Frame::Kind::map) return true;
    if (!stack_.empty()) return add(WireType::delimited, ended.bytes);
    result_ = std::move(ended.bytes);
    return true;
  }

  bool start_array(std::size_t) {
    bool in_message = !stack_.empty() && stack_.back().kind == Frame::Kind::message;
    if (!in_message || !stack_.back().field->repeated || stack_.back().field->is_map())
      return fail(stack_.empty() ? "takes an object, not a list" : "takes no list");
    return push({.kind = Frame::Kind::list, .field = stack_.back().field});
  }

  bool end_array() {
    Frame ended = std::move(stack_.back());
    stack_.pop_back();
    if (ended.field->packable() && !ended.bytes.empty())
      append_delimited(stack_.back().bytes, ended.field->number, ended.bytes);
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) {
    std::string_view what = error.what();
    if (auto end = what.find("] "); end != what.npos) what.remove_prefix(end + 2);
    error_ = "not valid JSON: " + std::string(what.substr(0, kParserMessageMax));
    return false;
  }

  std::string take() { return std::move(result_); }
  std::string take_error() { return std::move(error_); }

 private:
  bool fail(std::string_view what) {
    std::string where = path();
    error_ = (where.empty() ? root_.name : where) + ": " + std::string(what);
    return false;
  }

  /// "stages[2].where.kind"
  std::string path() const {
    std::string text;
    for (const Frame& frame : stack_) {
      if (frame.kind == Frame::Kind::message && frame.field)
        text += (text.empty() ? "" : ".") + frame.field->json_name;
      else if (frame.kind == Frame::Kind::list)
        text += "[" + std::to_string(frame.elements) + "]";
      else if (frame.kind == Frame::Kind::map && !frame.key.empty())
        text += "['" + frame.key + "']";
    }
    return text;
  }

  bool push(Frame frame) {
    stack_.push_back(std::move(frame));
    return true;
  }

  /// The field whose value is being read; of a map, that of its entry.
  const Field& value_field() const {
    const Frame& top = stack_.back();
    return top.kind == Frame::Kind::map ? *top.field->message->find(kMapValue) : *top.field;
  }

  bool field_name(const std::string& name) {
    Frame& top = stack_.back();
    top.field = nullptr;
    const Field* field = top.type->find(name);
    if (!field) return unknown_field(*top.type, name);
    top.field = field;
    return top.fields_seen.insert(field->number).second || fail("occurs twice");
  }

  bool unknown_field(const MessageType& type, const std::string& name) {
    std::vector<std::string> known;
    for (const Field& field : type.fields) known.push_back(field.json_name);
    return fail("there is no field '" + name.substr(0, kParserMessageMax) + "' in " + type.name +
                did_you_mean(name, known));
  }

  bool map_key(const std::string& name) {
    Frame& top = stack_.back();
    top.key = name.substr(0, kParserMessageMax);
    auto encoded = encode_map_key(*top.field->message->find(kMapKey), name);
    if (!encoded) return fail("the key " + encoded.error());
    top.key_bytes.clear();
    append_field(top.key_bytes, kMapKey, encoded->type, encoded->bytes);
    return top.keys_seen.insert(top.key_bytes).second || fail("occurs twice");
  }

  bool claim_oneof(const Field& field) {
    if (field.oneof < 0) return true;
    auto [holder, first] = stack_.back().oneofs_seen.try_emplace(field.oneof, &field);
    return first || fail("can't be set beside '" + holder->second->json_name + "'");
  }

  bool scalar(const JsonScalar& value) {
    if (stack_.empty()) return fail("takes an object");
    if (stack_.back().kind == Frame::Kind::message) {
      const Field& field = *stack_.back().field;
      if (field.repeated) return fail(field.is_map() ? "takes an object" : "takes a list");
      if (!claim_oneof(field)) return false;
    }
    const Field& field = value_field();
    if (field.message) return fail("takes an object");
    auto encoded = encode_scalar(field, value);
    if (!encoded) return fail(encoded.error());
    return add(encoded->type, encoded->bytes);
  }

  static void append_field(std::string& to, std::uint32_t number, WireType type, std::string_view bytes) {
    if (type == WireType::delimited) return append_delimited(to, number, bytes);
    append_tag(to, number, type);
    to += bytes;
  }

  /// A finished value, to where the parser is.
  bool add(WireType type, std::string_view bytes) {
    Frame& top = stack_.back();
    switch (top.kind) {
      case Frame::Kind::message:
        append_field(top.bytes, top.field->number, type, bytes);
        break;
      case Frame::Kind::list:
        ++top.elements;
        if (top.field->packable())
          top.bytes += bytes;
        else
          append_field(stack_[stack_.size() - 2].bytes, top.field->number, type, bytes);
        break;
      case Frame::Kind::map:
        append_field(top.key_bytes, kMapValue, type, bytes);
        append_delimited(stack_[stack_.size() - 2].bytes, top.field->number, top.key_bytes);
        break;
    }
    return limit();
  }

  // Checked where bytes are added, so that no more than that is ever held in one place.
  bool limit() {
    std::size_t size = 0;
    for (const Frame& frame : stack_) size += frame.bytes.size();
    return size <= size_max_ || fail("the message is larger than " + std::to_string(size_max_) + " bytes");
  }

  const MessageType& root_;
  std::size_t size_max_;
  std::vector<Frame> stack_;
  std::string result_;
  std::string error_;
};

}  // namespace

std::expected<std::string, std::string> message_from_json(const Schema& schema, std::string_view type,
                                                          std::string_view json, std::size_t size_max) {
  const MessageType* message = schema.message(type);
  REQUIRE(message != nullptr);
  JsonReader reader(*message, size_max);
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &reader)) return std::unexpected(reader.take_error());
  return reader.take();
}

}  // namespace sluice::api
