#include "flow/yaml_document.h"

#include <fmt/format.h>
#include <yaml.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "flow/yaml_characters.h"

namespace sluice::flow {
namespace {

using Refusal = std::unexpected<FileMistake>;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

TextPlace place_of(const yaml_mark_t& mark) { return {mark.line + 1, mark.column + 1}; }

// The library's own words are right, and mean little to somebody who has left out a quote.
FileMistake explain(const yaml_parser_t& parser, std::string_view text) {
  std::string_view problem = parser.problem != nullptr ? parser.problem : "it can't be read";
  std::string_view context = parser.context != nullptr ? parser.context : "";
  TextPlace place = place_of(parser.problem_mark), began = place_of(parser.context_mark);
  auto is = [&](std::string_view words) { return problem.find(words) != std::string_view::npos; };
  if (context.find("quoted scalar") != std::string_view::npos && is("end of stream"))
    return {began, "a quote is opened here and never closed"};
  if (context.find("quoted scalar") != std::string_view::npos && is("unknown escape"))
    return {place, "unknown escape in double quotes; write \\\\ for a backslash, or use single quotes"};
  if (is("cannot start any token")) {
    char c = character_at(text, place);
    if (c == '\t') return {place, "YAML takes no tab for indentation; use spaces"};
    return {place, fmt::format("no text begins with '{}' in YAML; put it in quotes", c)};
  }
  if (is("mapping values are not allowed"))
    return {place, "a ':' can't stand here; put the text around it in quotes, or check the indentation"};
  if (is("expected key") || is("expected <block end>") || is("'-' indicator") || is("block entries are not allowed"))
    return {place,
            fmt::format("this does not continue what begins on line {}; check the indentation, and put text with "
                        "special characters in quotes",
                        began.line)};
  if (is("expected ':'"))
    return {began.line == 1 && context.empty() ? place : began, "a ':' is missing behind this key"};
  if (is("',' or ']'")) return {place, fmt::format("a ',' or the ']' for line {} is missing", began.line)};
  if (is("',' or '}'")) return {place, fmt::format("a ',' or the '}}' for line {} is missing", began.line)};
  if (is("tab character")) return {place, "YAML takes no tab for indentation; use spaces"};
  std::string_view gap = context.empty() ? "" : " ";
  return {place, fmt::format("this is no YAML: {}{}{}", context, gap, problem)};
}

struct Event : yaml_event_t {
  Event() : yaml_event_t{} {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { yaml_event_delete(this); }
};

struct Parser : yaml_parser_t {
  explicit Parser(std::string_view text) {
    initialized = yaml_parser_initialize(this) == 1;
    if (initialized)
      yaml_parser_set_input_string(this, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  }
  Parser(const Parser&) = delete;
  Parser& operator=(const Parser&) = delete;
  ~Parser() {
    if (initialized) yaml_parser_delete(this);
  }
  bool initialized = false;
};

std::string to_string(const yaml_char_t* text) { return text != nullptr ? reinterpret_cast<const char*>(text) : ""; }

YamlNode::Style style_of(yaml_scalar_style_t style) {
  switch (style) {
    case YAML_LITERAL_SCALAR_STYLE:
      return YamlNode::Style::literal;
    case YAML_FOLDED_SCALAR_STYLE:
      return YamlNode::Style::folded;
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
      return YamlNode::Style::quoted;
    default:
      return YamlNode::Style::plain;
  }
}

// YAML 1.2 section 10.3.2
bool is_nothing(std::string_view plain) {
  return plain.empty() || plain == "~" || plain == "null" || plain == "Null" || plain == "NULL";
}

// Puts the events of one document together.
class Builder final {
 public:
  Builder(FileMistakes& mistakes, const YamlLimits& limits) : mistakes_(mistakes), limits_(limits) {}

  // Whether to go on.
  bool take(const yaml_event_t& event) {
    switch (event.type) {
      case YAML_DOCUMENT_START_EVENT:
        if (root_) refuse(place_of(event.start_mark), "a second document; a file holds one flow");
        break;
      case YAML_ALIAS_EVENT:
        take_alias(place_of(event.start_mark), to_string(event.data.alias.anchor));
        break;
      case YAML_SCALAR_EVENT:
        take_text(event);
        break;
      case YAML_SEQUENCE_START_EVENT:
        open(YamlNode::Kind::list, event, event.data.sequence_start.anchor, event.data.sequence_start.tag);
        break;
      case YAML_MAPPING_START_EVENT:
        open(YamlNode::Kind::map, event, event.data.mapping_start.anchor, event.data.mapping_start.tag);
        break;
      case YAML_SEQUENCE_END_EVENT:
      case YAML_MAPPING_END_EVENT:
        close();
        break;
      default:
        break;
    }
    return !refused_;
  }

  std::expected<YamlNode, FileMistake> finish() {
    if (refused_) return Refusal(*std::move(refused_));
    return root_ ? *std::move(root_) : YamlNode{};
  }

 private:
  struct Open {
    YamlNode node;
    std::string anchor;
    std::optional<YamlNode> key;              // whose value is awaited
    std::map<std::string, std::size_t> keys;  // and their lines
  };

  void refuse(TextPlace place, std::string message) {
    if (!refused_) refused_ = FileMistake{place, std::move(message)};
  }

  bool spend(std::size_t nodes, std::size_t bytes, TextPlace place) {
    nodes_ += nodes;
    bytes_ += bytes;
    if (nodes_ > limits_.nodes_max)
      refuse(place, fmt::format("the file has more than {} values, aliases counted where they stand; a flow has fewer",
                                limits_.nodes_max));
    if (bytes_ > limits_.text_bytes_max)
      refuse(place, fmt::format("the file has more than {} bytes of text, aliases counted where they stand",
                                limits_.text_bytes_max));
    return !refused_;
  }

  static void measure(const YamlNode& node, std::size_t& nodes, std::size_t& bytes) {
    ++nodes;
    bytes += node.text.size();
    for (const YamlNode& item : node.items) measure(item, nodes, bytes);
    for (const YamlEntry& entry : node.entries) {
      bytes += entry.key.size();
      measure(entry.value, nodes, bytes);
    }
  }

  static std::size_t depth_of(const YamlNode& node) {
    std::size_t deepest = 0;
    for (const YamlNode& item : node.items) deepest = std::max(deepest, depth_of(item));
    for (const YamlEntry& entry : node.entries) deepest = std::max(deepest, depth_of(entry.value));
    bool holds_others = node.kind == YamlNode::Kind::list || node.kind == YamlNode::Kind::map;
    return deepest + (holds_others ? 1 : 0);
  }

  void check_tag(TextPlace place, const yaml_char_t* tag) {
    if (tag != nullptr)
      mistakes_.add(place, fmt::format("the tag '{}' means nothing here; leave it out", to_string(tag)));
  }

  void too_deep(TextPlace place) {
    refuse(place, fmt::format("lists and maps are nested deeper than {}; no flow needs that", limits_.nesting_max));
  }

  void open(YamlNode::Kind kind, const yaml_event_t& event, const yaml_char_t* anchor, const yaml_char_t* tag) {
    TextPlace place = place_of(event.start_mark);
    if (open_.size() >= limits_.nesting_max) return too_deep(place);
    check_tag(place, tag);
    open_.push_back({.node = {.kind = kind, .place = place}, .anchor = to_string(anchor)});
  }

  void close() {
    Open closed = std::move(open_.back());
    open_.pop_back();
    complete(std::move(closed.node), closed.anchor);
  }

  void take_text(const yaml_event_t& event) {
    const auto& scalar = event.data.scalar;
    TextPlace place = place_of(event.start_mark);
    check_tag(place, scalar.tag);
    YamlNode node{.kind = YamlNode::Kind::text,
                  .place = place,
                  .text = {reinterpret_cast<const char*>(scalar.value), scalar.length},
                  .style = style_of(scalar.style)};
    if (node.style == YamlNode::Style::plain && is_nothing(node.text)) node.kind = YamlNode::Kind::nothing;
    if (node.text.find('\0') != std::string::npos) return refuse(place, "a text can't hold a NUL character");
    complete(std::move(node), to_string(scalar.anchor));
  }

  void take_alias(TextPlace place, const std::string& name) {
    auto anchor = anchors_.find(name);
    if (anchor == anchors_.end())
      return refuse(place, fmt::format("the alias '*{}' stands for nothing: no '&{}' ends before it", name, name));
    std::size_t nodes = 0, bytes = 0;
    measure(anchor->second, nodes, bytes);
    if (!spend(nodes, bytes, place)) return;
    if (open_.size() + depth_of(anchor->second) > limits_.nesting_max) return too_deep(place);
    complete(anchor->second, "");
  }

  void complete(YamlNode node, const std::string& anchor) {
    if (!spend(1, node.text.size(), node.place)) return;
    if (!anchor.empty()) {
      std::size_t nodes = 0, bytes = 0;
      measure(node, nodes, bytes);
      if (!spend(nodes, bytes, node.place)) return;
      anchors_.insert_or_assign(anchor, node);
    }
    if (open_.empty())
      root_ = std::move(node);
    else if (open_.back().node.kind == YamlNode::Kind::list)
      open_.back().node.items.push_back(std::move(node));
    else
      put_into_map(open_.back(), std::move(node));
  }

  void put_into_map(Open& map, YamlNode node) {
    if (!map.key) {
      if (node.kind == YamlNode::Kind::list || node.kind == YamlNode::Kind::map)
        return refuse(node.place, "a key must be a text, not a list or a map; put text with '{' or '[' in quotes");
      map.key = std::move(node);
      return;
    }
    YamlNode key = *std::exchange(map.key, std::nullopt);
    auto [first, is_new] = map.keys.emplace(key.text, key.place.line);
    if (!is_new)
      mistakes_.add(key.place,
                    fmt::format("'{}' stands twice, first on line {}; leave one out", key.text, first->second));
    else
      map.node.entries.push_back({std::move(key.text), key.place, std::move(node)});
  }

  FileMistakes& mistakes_;
  const YamlLimits& limits_;
  std::vector<Open> open_;
  std::map<std::string, YamlNode> anchors_;
  std::optional<YamlNode> root_;
  std::optional<FileMistake> refused_;
  std::size_t nodes_ = 0, bytes_ = 0;
};

}  // namespace

std::expected<YamlNode, FileMistake> read_yaml(std::string_view text, FileMistakes& mistakes,
                                               const YamlLimits& limits) {
  if (text.size() > limits.size_max)
    return Refusal({{}, fmt::format("the file is larger than {} KiB; a flow needs less", limits.size_max >> 10)});
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (auto foreign = find_foreign_character(text)) return Refusal(*std::move(foreign));
  std::string joined = join_surrogates(text);
  Parser parser(joined);
  if (!parser.initialized) return Refusal({{}, "there is no memory to read the file"});
  yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
  Builder builder(mistakes, limits);
  for (bool going_on = true; going_on;) {
    Event event;
    if (yaml_parser_parse(&parser, &event) != 1) return Refusal(explain(parser, text));
    going_on = builder.take(event) && event.type != YAML_STREAM_END_EVENT;
  }
  return builder.finish();
}

}  // namespace sluice::flow
