#pragma once
// Values of a flow file with the types that their keys want, and sentences for those that are none.
// Threading: none of its own.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "flow/flow_file.h"
#include "flow/yaml_document.h"

namespace sluice::flow {

/// Constant, so that no start of the program pays for them.
using Names = std::span<const std::string_view>;

/// A value and the key that it stands behind, for messages. An empty value has no place of its own; its key has.
struct KeyedValue {
  std::string_view key;
  TextPlace key_place;
  const YamlNode& node;
  TextPlace place() const { return node.kind == YamlNode::Kind::nothing ? key_place : node.place; }
};

/// "a list", "the text 'many'": what stands in a place where something else was wanted.
std::string describe_value(const YamlNode& node);

class ValueReader final {
 public:
  explicit ValueReader(FileMistakes& mistakes) : mistakes_(mistakes) {}

  void refuse(const KeyedValue& value, std::string_view wanted);

  std::optional<std::string> text(const KeyedValue& value, std::string_view wanted);
  std::optional<bool> flag(const KeyedValue& value);
  std::optional<std::uint32_t> count(const KeyedValue& value, std::uint32_t least, std::uint32_t most);
  /// The index of the name that it is.
  std::optional<std::size_t> choice(const KeyedValue& value, Names names);
  std::optional<double> rate(const KeyedValue& value);
  std::optional<SlowPolicy> slow(const KeyedValue& value);

 private:
  std::optional<SlowPolicy> spill(const KeyedValue& value);

  FileMistakes& mistakes_;
};

/// "; keys of a stage: run worker", or the nearest of them.
std::string spelling_help(std::string_view typed, Names known, std::string_view what);

}  // namespace sluice::flow
