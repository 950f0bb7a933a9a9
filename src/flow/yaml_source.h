#pragma once
// Finds the place in a YAML file of something within a text of it: of a syntax error in a command, of one name in a
// link. The text of the file must outlive it.
// Threading: none of its own.
#include <cstddef>
#include <string_view>
#include <vector>

#include "flow/yaml_document.h"

namespace sluice::flow {

class YamlSource final {
 public:
  explicit YamlSource(std::string_view text);

  /// `offset` is in `node.text`. Where the file spells the text otherwise (escapes, folded lines), the place of the
  /// node.
  TextPlace place_in(const YamlNode& node, std::size_t offset) const;

 private:
  std::string_view line(std::size_t number) const;  // from 1; empty beyond the end

  std::vector<std::string_view> lines_;
};

}  // namespace sluice::flow
