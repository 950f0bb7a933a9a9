#pragma once
// A YAML document as a tree of values that know their places. JSON is read as the YAML that it is.
//
// Of YAML 1.2 this is what a file of settings needs: maps with texts as keys, lists, texts, nothing, anchors and
// aliases. No text becomes a number or a boolean by how it looks: the reader of a value knows what it wants, so `no`
// stays a country and `1.10` a version. Tags are refused: no value of ours has another kind than its place in the file
// says.
//
// Limits, because an alias can make a small text large (a "billion laughs"): the nesting, the nodes and the bytes of
// texts, after aliases have been put in their places. A tree within them can be walked by recursion.
// Threading: a pure function.
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "flow/file_mistake.h"

namespace sluice::flow {

struct YamlEntry;

struct YamlNode {
  enum class Kind { nothing, text, list, map };
  enum class Style { plain, quoted, literal, folded };  // of a text

  Kind kind = Kind::nothing;
  TextPlace place;
  std::string text;
  Style style = Style::plain;
  std::vector<YamlNode> items;     // of a list
  std::vector<YamlEntry> entries;  // of a map, in the order of the file
};

struct YamlEntry {
  std::string key;
  TextPlace place;  // of the key
  YamlNode value;
};

struct YamlLimits {
  std::size_t size_max = std::size_t{1} << 20;
  std::size_t nesting_max = 20;
  std::size_t nodes_max = 100'000;
  std::size_t text_bytes_max = std::size_t{4} << 20;
};

/// `mistakes` gets keys that stand twice in one map; the first is kept.
/// Errors: what makes the rest unreadable: it is not UTF-8 or no YAML, has more than one document, or exceeds a limit.
std::expected<YamlNode, FileMistake> read_yaml(std::string_view text, FileMistakes& mistakes,
                                               const YamlLimits& limits = {});

}  // namespace sluice::flow
