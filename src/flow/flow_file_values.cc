#include "flow/flow_file_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

#include "base/spelling.h"
#include "flow/quoting.h"

namespace sluice::flow {
namespace {

constexpr std::size_t kShownColumns = 40;
constexpr double kRateMax = 1e9;  // records a second: more than any link carries
constexpr std::string_view kSlowNames[] = {"block", "drop"};
constexpr std::string_view kSlowWanted = "block, drop, or how much may wait on disk: { spill: 100M }";

template <typename Number>
std::optional<Number> number_of(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::text || node.style != YamlNode::Style::plain) return std::nullopt;
  Number number{};
  const char *begin = node.text.data(), *end = begin + node.text.size();
  auto [read, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || read != end) return std::nullopt;
  return number;
}

// "10" in quotes is a text for every reader of YAML, and looks right to whoever wrote it.
std::string quotes_hint(const YamlNode& node) {
  YamlNode plain = node;
  plain.style = YamlNode::Style::plain;
  bool right = number_of<double>(plain) || plain.text == "true" || plain.text == "false";
  return right && node.kind == YamlNode::Kind::text && node.style == YamlNode::Style::quoted ? "; leave the quotes out"
                                                                                             : "";
}

std::string nearest_of(std::string_view typed, Names known) {
  return did_you_mean(typed, std::vector<std::string>(known.begin(), known.end()));
}

}  // namespace

std::string describe_value(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::nothing:
      return "nothing";
    case YamlNode::Kind::list:
      return "a list";
    case YamlNode::Kind::map:
      return "a map";
    case YamlNode::Kind::text:
      break;
  }
  std::string shown = on_one_line(node.text, kShownColumns);
  return node.style == YamlNode::Style::plain ? fmt::format("'{}'", shown) : fmt::format("the text '{}'", shown);
}

std::string spelling_help(std::string_view typed, Names known, std::string_view what) {
  if (typed == "<<") return ": YAML 1.2 has no merge keys; write its keys out, or use an alias for a whole value";
  std::string nearest = nearest_of(typed, known);
  return nearest.empty() ? fmt::format("; {}: {}", what, fmt::join(known, " ")) : nearest;
}

void ValueReader::refuse(const KeyedValue& value, std::string_view wanted) {
  mistakes_.add(value.place(),
                fmt::format("{}: it takes {}, and this is {}", value.key, wanted, describe_value(value.node)));
}

std::optional<std::string> ValueReader::text(const KeyedValue& value, std::string_view wanted) {
  if (value.node.kind == YamlNode::Kind::text && !value.node.text.empty()) return value.node.text;
  refuse(value, wanted);
  return std::nullopt;
}

std::optional<bool> ValueReader::flag(const KeyedValue& value) {
  bool plain = value.node.kind == YamlNode::Kind::text && value.node.style == YamlNode::Style::plain;
  if (plain && value.node.text == "true") return true;
  if (plain && value.node.text == "false") return false;
  refuse(value, "true or false");
  return std::nullopt;
}

std::optional<std::uint32_t> ValueReader::count(const KeyedValue& value, std::uint32_t least, std::uint32_t most) {
  auto number = number_of<std::uint32_t>(value.node);
  if (number && *number >= least && *number <= most) return number;
  mistakes_.add(value.place(), fmt::format("{}: it takes a number from {} to {}, and this is {}{}", value.key, least,
                                           most, describe_value(value.node), quotes_hint(value.node)));
  return std::nullopt;
}

std::optional<std::size_t> ValueReader::choice(const KeyedValue& value, Names names) {
  if (value.node.kind == YamlNode::Kind::text) {
    auto found = std::ranges::find(names, value.node.text);
    if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  }
  std::string nearest = value.node.kind == YamlNode::Kind::text ? nearest_of(value.node.text, names) : "";
  mistakes_.add(value.place(), fmt::format("{}: it takes one of {}, and this is {}{}", value.key, fmt::join(names, " "),
                                           describe_value(value.node), nearest));
  return std::nullopt;
}

std::optional<double> ValueReader::rate(const KeyedValue& value) {
  auto number = number_of<double>(value.node);
  if (number && std::isfinite(*number) && *number > 0 && *number <= kRateMax) return number;
  mistakes_.add(value.place(), fmt::format("{}: it takes records a second, such as 100 or 0.5, and this is {}{}",
                                           value.key, describe_value(value.node), quotes_hint(value.node)));
  return std::nullopt;
}

std::optional<SlowPolicy> ValueReader::slow(const KeyedValue& value) {
  if (value.node.kind == YamlNode::Kind::map) return spill(value);
  if (value.node.kind == YamlNode::Kind::text) {
    if (value.node.text == "block") return SlowPolicy{};
    if (value.node.text == "drop") return SlowPolicy{.kind = SlowPolicy::Kind::drop, .spill_max = {}};
    if (std::string nearest = nearest_of(value.node.text, kSlowNames); !nearest.empty()) {
      mistakes_.add(value.place(), fmt::format("slow: it takes {}, and this is {}{}", kSlowWanted,
                                               describe_value(value.node), nearest));
      return std::nullopt;
    }
  }
  refuse(value, kSlowWanted);
  return std::nullopt;
}

std::optional<SlowPolicy> ValueReader::spill(const KeyedValue& value) {
  const auto& entries = value.node.entries;
  if (entries.size() != 1 || entries.front().key != "spill") {
    TextPlace place = entries.empty() ? value.place() : entries.front().place;
    mistakes_.add(place, fmt::format("slow: it takes {}", kSlowWanted));
    return std::nullopt;
  }
  KeyedValue size{.key = "spill", .key_place = entries.front().place, .node = entries.front().value};
  auto written = text(size, "a size such as 100M");
  if (!written) return std::nullopt;
  auto bytes = parse_byte_count(*written);
  if (!bytes || bytes->value == 0) {
    mistakes_.add(size.place(),
                  "spill: " + (bytes ? std::string("0 bytes hold no record; a size such as 100M") : bytes.error()));
    return std::nullopt;
  }
  return SlowPolicy{.kind = SlowPolicy::Kind::spill, .spill_max = *bytes};
}

}  // namespace sluice::flow
