#include "flow/yaml_source.h"

#include <algorithm>

namespace sluice::flow {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool begins_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }  // RFC 3629

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, begins_character));
}

// What is left of a line behind so many characters.
std::string_view behind(std::string_view line, std::size_t characters) {
  std::size_t i = 0;
  while (i < line.size() && (characters > 0 || !begins_character(line[i])))
    if (begins_character(line[i++])) --characters;
  return line.substr(i);
}

}  // namespace

YamlSource::YamlSource(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  for (std::size_t begin = 0; begin <= text.size();) {
    std::size_t end = std::min(text.find('\n', begin), text.size());
    lines_.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

std::string_view YamlSource::line(std::size_t number) const {
  return number >= 1 && number <= lines_.size() ? lines_[number - 1] : std::string_view();
}

TextPlace YamlSource::place_in(const YamlNode& node, std::size_t offset) const {
  std::string_view before = std::string_view(node.text).substr(0, offset);
  if (node.style == YamlNode::Style::literal) {
    std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
    auto lines_before = static_cast<std::size_t>(std::ranges::count(before, '\n'));
    std::string_view wanted = std::string_view(node.text).substr(line_begin);
    wanted = wanted.substr(0, wanted.find('\n'));
    std::size_t number = node.place.line + 1 + lines_before;  // the text begins behind the line of its |
    std::string_view found = line(number);
    std::size_t indentation = found.find(wanted);
    if (wanted.empty() || indentation == std::string_view::npos) return node.place;
    return {number, indentation + count_characters(before.substr(line_begin)) + 1};
  }
  std::size_t column = node.place.column + (node.style == YamlNode::Style::quoted ? 1 : 0);
  if (!behind(line(node.place.line), column - 1).starts_with(before)) return node.place;
  return {node.place.line, column + count_characters(before)};
}

}  // namespace sluice::flow
