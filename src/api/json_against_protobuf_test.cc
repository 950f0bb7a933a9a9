// Our JSON mapping beside the one of protobuf's full runtime, on messages made by chance: of all types of our API, and of
// a message that has every type of field.
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "api/json_mapping.h"
#include "base/random.h"

namespace sluice::api {
namespace {

namespace pb = google::protobuf;

constexpr std::size_t kSizeMax = 64 << 20;
constexpr std::size_t kCases = 100;  // of each type
constexpr int kDepthMax = 3;

/// A schema for us, and a pool of the same descriptors for protobuf.
class Both {
 public:
  explicit Both(std::string_view descriptor_set) {
    pb::FileDescriptorSet set;
    set.ParseFromArray(descriptor_set.data(), static_cast<int>(descriptor_set.size()));
    build(set);
  }

  const Schema& schema() const { return *schema_; }
  std::vector<std::string> types() const {
    std::vector<std::string> names;
    for (const auto& [name, type] : schema_->messages())
      if (!type.map_entry) names.push_back(name);
    return names;
  }
  std::unique_ptr<pb::Message> make(const std::string& type) {
    return std::unique_ptr<pb::Message>(factory_.GetPrototype(pool_.FindMessageTypeByName(type))->New());
  }

 private:
  // Files come in any order, but the pool wants what a file imports first. Then the names in JSON are written out, as
  // protoc does.
  void build(const pb::FileDescriptorSet& set) {
    pb::FileDescriptorSet complete;
    for (int round = 0; round < set.file_size(); ++round)
      for (const pb::FileDescriptorProto& file : set.file()) {
        auto known = [&](const std::string& name) { return pool_.FindFileByName(name) != nullptr; };
        if (known(file.name()) || !std::ranges::all_of(file.dependency(), known)) continue;
        const pb::FileDescriptor* built = pool_.BuildFile(file);
        ASSERT_NE(built, nullptr);
        built->CopyTo(complete.add_file());
        built->CopyJsonNameTo(complete.mutable_file(complete.file_size() - 1));
      }
    auto schema = Schema::parse(complete.SerializeAsString());
    ASSERT_TRUE(schema.has_value()) << schema.error();
    schema_ = std::move(*schema);
  }

  std::optional<Schema> schema_;
  pb::DescriptorPool pool_;
  pb::DynamicMessageFactory factory_{&pool_};
};

/// Fills messages by chance. Edge values are as likely as others.
class Filler {
 public:
  explicit Filler(std::uint64_t seed) : random_(seed) {}

  void fill(pb::Message& message, int depth) {
    const pb::Descriptor& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const pb::FieldDescriptor& field = *type.field(i);
      bool nests = field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE && !field.is_map();
      if (random_.below(3) == 0 || (nests && depth >= kDepthMax)) continue;
      if (field.is_repeated())
        fill_repeated(message, field, depth);
      else
        set(message, field, depth);
    }
  }

  SeededRandom& random() { return random_; }

 private:
  void fill_repeated(pb::Message& message, const pb::FieldDescriptor& field, int depth) {
    for (std::uint64_t count = random_.below(4); count > 0; --count) {
      const pb::Reflection& access = *message.GetReflection();
      switch (field.cpp_type()) {
        case pb::FieldDescriptor::CPPTYPE_INT32:
          access.AddInt32(&message, &field, integer<std::int32_t>());
          break;
        case pb::FieldDescriptor::CPPTYPE_INT64:
          access.AddInt64(&message, &field, integer<std::int64_t>());
          break;
        case pb::FieldDescriptor::CPPTYPE_UINT32:
          access.AddUInt32(&message, &field, integer<std::uint32_t>());
          break;
        case pb::FieldDescriptor::CPPTYPE_UINT64:
          access.AddUInt64(&message, &field, integer<std::uint64_t>());
          break;
        case pb::FieldDescriptor::CPPTYPE_DOUBLE:
          access.AddDouble(&message, &field, floating<double>());
          break;
        case pb::FieldDescriptor::CPPTYPE_FLOAT:
          access.AddFloat(&message, &field, floating<float>());
          break;
        case pb::FieldDescriptor::CPPTYPE_BOOL:
          access.AddBool(&message, &field, random_.below(2) == 1);
          break;
        case pb::FieldDescriptor::CPPTYPE_ENUM:
          access.AddEnumValue(&message, &field, enumerator(field));
          break;
        case pb::FieldDescriptor::CPPTYPE_STRING:
          access.AddString(&message, &field, text(field));
          break;
        case pb::FieldDescriptor::CPPTYPE_MESSAGE:
          fill(*access.AddMessage(&message, &field), depth + 1);
          if (field.is_map() && last_key_repeats(message, field)) access.RemoveLast(&message, &field);
          break;
      }
    }
  }

  static bool last_key_repeats(const pb::Message& message, const pb::FieldDescriptor& field) {
    std::set<std::string> keys;
    for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
      const pb::Message& entry = message.GetReflection()->GetRepeatedMessage(message, &field, i);
      std::unique_ptr<pb::Message> key(entry.New());
      key->CopyFrom(entry);
      key->GetReflection()->ClearField(key.get(), entry.GetDescriptor()->FindFieldByNumber(2));
      if (!keys.insert(key->SerializeAsString()).second) return true;
    }
    return false;
  }

  void set(pb::Message& message, const pb::FieldDescriptor& field, int depth) {
    const pb::Reflection& access = *message.GetReflection();
    switch (field.cpp_type()) {
      case pb::FieldDescriptor::CPPTYPE_INT32:
        return access.SetInt32(&message, &field, integer<std::int32_t>());
      case pb::FieldDescriptor::CPPTYPE_INT64:
        return access.SetInt64(&message, &field, integer<std::int64_t>());
      case pb::FieldDescriptor::CPPTYPE_UINT32:
        return access.SetUInt32(&message, &field, integer<std::uint32_t>());
      case pb::FieldDescriptor::CPPTYPE_UINT64:
        return access.SetUInt64(&message, &field, integer<std::uint64_t>());
      case pb::FieldDescriptor::CPPTYPE_DOUBLE:
        return access.SetDouble(&message, &field, floating<double>());
      case pb::FieldDescriptor::CPPTYPE_FLOAT:
        return access.SetFloat(&message, &field, floating<float>());
      case pb::FieldDescriptor::CPPTYPE_BOOL:
        return access.SetBool(&message, &field, random_.below(2) == 1);
      case pb::FieldDescriptor::CPPTYPE_ENUM:
        return access.SetEnumValue(&message, &field, enumerator(field));
      case pb::FieldDescriptor::CPPTYPE_STRING:
        return access.SetString(&message, &field, text(field));
      case pb::FieldDescriptor::CPPTYPE_MESSAGE:
        return fill(*access.MutableMessage(&message, &field), depth + 1);
    }
  }

  template <class Integer>
  Integer integer() {
    switch (random_.below(4)) {
      case 0:
        return std::numeric_limits<Integer>::min();
      case 1:
        return std::numeric_limits<Integer>::max();
      case 2:
        return static_cast<Integer>(random_.below(3));
      default:
        return static_cast<Integer>(random_());
    }
  }

  template <class Floating>
  Floating floating() {
    using Limits = std::numeric_limits<Floating>;
    const Floating edges[] = {0,
                              Limits::max(),
                              Limits::lowest(),
                              Limits::min(),
                              Limits::denorm_min(),
                              Limits::infinity(),
                              -Limits::infinity(),
                              Limits::quiet_NaN()};
    if (random_.below(2) == 0) return edges[random_.below(std::size(edges))];
    return static_cast<Floating>(std::ldexp(random_.fraction() - 0.5, static_cast<int>(random_.below(120)) - 60));
  }

  int enumerator(const pb::FieldDescriptor& field) {
    if (random_.below(8) == 0) return 12345;
    const pb::EnumDescriptor& type = *field.enum_type();
    return type.value(static_cast<int>(random_.below(static_cast<std::uint64_t>(type.value_count()))))->number();
  }

  std::string text(const pb::FieldDescriptor& field) {
    bool bytes = field.type() == pb::FieldDescriptor::TYPE_BYTES;
    const char* pieces[] = {"a",         "\"",           "\\", "\n", "\x01", "\xc3\xa4", "\xf0\x9f\x98\x80",
                            "</script>", "\xe2\x80\xa8", "/",  " "};
    std::string made;
    for (std::uint64_t count = random_.below(9); count > 0; --count)
      made += bytes ? std::string(1, static_cast<char>(random_())) : pieces[random_.below(std::size(pieces))];
    return made;
  }

  SeededRandom random_;
};

// NaN equals NaN here: messages are the same if their bytes are, with maps in order.
std::string bytes_of(const pb::Message& message) {
  std::string bytes;
  pb::io::StringOutputStream stream(&bytes);
  pb::io::CodedOutputStream output(&stream);
  output.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&output);
  output.Trim();
  return bytes;
}

// protobuf writes six or nine digits of a float, we as few as tell it from all others, with or without an exponent: both
// are the same float. (That numbers keep all their digits is seen where bytes are compared.)
nlohmann::json with_short_floats(const nlohmann::json& value) {
  if (value.is_number()) {
    double number = value.get<double>();
    return std::abs(number) >= 0x1.ffffffp127 ? value : nlohmann::json(static_cast<float>(number));
  }
  if (!value.is_structured()) return value;
  nlohmann::json made = value;
  for (auto& element : made) element = with_short_floats(element);
  return made;
}

std::uint64_t seed() {
  const char* given = std::getenv("SLUICE_SEED");
  return given ? std::strtoull(given, nullptr, 10) : random_seed();
}

template <class Check>
void for_random_messages(Both& both, const Check& check) {
  const std::uint64_t first = seed();
  for (std::size_t index = 0; index < kCases && !testing::Test::HasFailure(); ++index) {
    SCOPED_TRACE("rerun: SLUICE_SEED=" + std::to_string(first + index));
    Filler filler(first + index);
    for (const std::string& type : both.types()) {
      SCOPED_TRACE(type);
      auto message = both.make(type);
      filler.fill(*message, 0);
      check(type, *message, filler.random());
    }
  }
}

void writes_what_protobuf_writes(Both& both) {
  for_random_messages(both, [&](const std::string& type, const pb::Message& message, SeededRandom& random) {
    const bool defaults = random.below(2) == 1;
    auto ours = message_to_json(both.schema(), type, message.SerializeAsString(), {.print_defaults = defaults});
    ASSERT_TRUE(ours.has_value()) << ours.error();
    pb::util::JsonPrintOptions options;
    options.always_print_primitive_fields = defaults;
    std::string theirs;
    ASSERT_TRUE(pb::util::MessageToJsonString(message, &theirs, options).ok());
    EXPECT_EQ(with_short_floats(nlohmann::json::parse(*ours)), with_short_floats(nlohmann::json::parse(theirs)));
    auto again = both.make(type);
    ASSERT_TRUE(pb::util::JsonStringToMessage(*ours, again.get()).ok()) << *ours;
    EXPECT_TRUE(defaults || bytes_of(*again) == bytes_of(message)) << *ours;
  });
}

void reads_what_protobuf_writes(Both& both) {
  for_random_messages(both, [&](const std::string& type, const pb::Message& message, SeededRandom& random) {
    pb::util::JsonPrintOptions options;
    options.add_whitespace = random.below(2) == 1;
    options.preserve_proto_field_names = random.below(2) == 1;
    options.always_print_enums_as_ints = random.below(2) == 1;
    std::string theirs;
    ASSERT_TRUE(pb::util::MessageToJsonString(message, &theirs, options).ok());
    auto bytes = message_from_json(both.schema(), type, theirs, kSizeMax);
    ASSERT_TRUE(bytes.has_value()) << bytes.error() << "\n" << theirs;
    auto again = both.make(type);
    ASSERT_TRUE(again->ParseFromString(*bytes)) << theirs;
    EXPECT_EQ(bytes_of(*again), bytes_of(message)) << theirs;
  });
}

// The mapping takes an integer with a point or an exponent with and without quotes; protobuf 3.21 takes it without only.
std::string with_bare_decimals(const std::string& json) {
  static const std::regex kQuotedDecimal(R"re("(-?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))")re");
  return std::regex_replace(json, kQuotedDecimal, "$1");
}

bool protobuf_reads(const std::string& json, pb::Message& message) {
  if (pb::util::JsonStringToMessage(json, &message).ok()) return true;
  message.Clear();
  return pb::util::JsonStringToMessage(with_bare_decimals(json), &message).ok();
}

// What we accept of a text that was broken by chance, protobuf accepts too, and takes it for the same.
void accepts_no_more_than_protobuf(Both& both) {
  for_random_messages(both, [&](const std::string& type, const pb::Message& message, SeededRandom& random) {
    auto json = message_to_json(both.schema(), type, message.SerializeAsString());
    ASSERT_TRUE(json.has_value());
    constexpr std::string_view kCharacters = "{}[]:,\"\\0123456789.eE+-truefalsn ";
    for (int mutations = 0; mutations < 3; ++mutations) {
      std::size_t at = random.below(json->size());
      if (random.below(2) == 0)
        (*json)[at] = kCharacters[random.below(kCharacters.size())];
      else
        json->erase(at, random.below(3));
      if (json->empty()) break;
      auto bytes = message_from_json(both.schema(), type, *json, kSizeMax);
      if (!bytes) continue;
      auto ours = both.make(type), theirs = both.make(type);
      ASSERT_TRUE(ours->ParseFromString(*bytes)) << *json;
      ASSERT_TRUE(protobuf_reads(*json, *theirs)) << *json;
      EXPECT_EQ(bytes_of(*ours), bytes_of(*theirs)) << *json;
    }
  });
}

std::string file_content(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class JsonAgainstProtobuf : public testing::TestWithParam<bool> {
 protected:
  Both& both() {
    static Both api(api_descriptor_set());
    static Both every(file_content(SLUICE_EVERY_TYPE_DESCRIPTORS));
    return GetParam() ? every : api;
  }
};

TEST_P(JsonAgainstProtobuf, WritesWhatItWrites) { writes_what_protobuf_writes(both()); }
TEST_P(JsonAgainstProtobuf, ReadsWhatItWrites) { reads_what_protobuf_writes(both()); }
TEST_P(JsonAgainstProtobuf, AcceptsNoMore) { accepts_no_more_than_protobuf(both()); }

INSTANTIATE_TEST_SUITE_P(Types, JsonAgainstProtobuf, testing::Bool(),
                         [](const auto& param) { return param.param ? "EveryTypeOfField" : "OurApi"; });

}  // namespace
}  // namespace sluice::api
