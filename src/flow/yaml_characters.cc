#include "flow/yaml_characters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>

namespace sluice::flow {
namespace {

// The length of the character of UTF-8 that begins `text` (RFC 3629 section 4), or 0 if it is none.
std::size_t character_length(std::string_view text) {
  auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto follows = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
  unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if ((first & 0xf0) == 0xe0) {
    bool overlong = first == 0xe0 && second < 0xa0, surrogate = first == 0xed && second >= 0xa0;
    return follows(1) && follows(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    bool overlong = first == 0xf0 && second < 0x90, beyond = first == 0xf4 && second >= 0x90;
    return follows(1) && follows(2) && follows(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

char32_t decode(std::string_view character) {
  auto first = static_cast<unsigned char>(character[0]);
  char32_t value = character.size() == 1 ? first : first & (0x7fu >> character.size());
  for (char c : character.substr(1)) value = value << 6 | (static_cast<unsigned char>(c) & 0x3fu);
  return value;
}

// What a YAML stream may hold: `c-printable` of YAML 1.2 section 5.1, but for a byte order mark in its midst.
bool is_printable(char32_t c) {
  if (c < 0x20) return c == '\t' || c == '\n' || c == '\r';
  if (c < 0xa0) return c < 0x7f || c == 0x85;
  return c != 0xfeff && c != 0xfffe && c != 0xffff;
}

// "\ud83d" at the beginning of `text`, or nothing.
std::optional<std::uint32_t> escaped_unit(std::string_view text) {
  if (text.size() < 6 || !text.starts_with("\\u")) return std::nullopt;
  std::uint32_t unit = 0;
  auto [end, error] = std::from_chars(text.data() + 2, text.data() + 6, unit, 16);
  if (error != std::errc() || end != text.data() + 6) return std::nullopt;
  return unit;
}

}  // namespace

std::optional<FileMistake> find_foreign_character(std::string_view text) {
  TextPlace place;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t length = character_length(text.substr(i));
    if (length == 0) return FileMistake{place, "this is not UTF-8; save the file in that encoding"};
    char32_t character = decode(text.substr(i, length));
    if (!is_printable(character))
      return FileMistake{place, fmt::format("the character U+{0:04X} can't stand in YAML; in double quotes it is "
                                            "written \\u{0:04x}",
                                            static_cast<std::uint32_t>(character))};
    place = text[i] == '\n' ? TextPlace{place.line + 1, 1} : TextPlace{place.line, place.column + 1};
    i += length;
  }
  return std::nullopt;
}

char character_at(std::string_view text, TextPlace place) {
  std::size_t begin = 0;
  for (std::size_t line = 1; line < place.line && begin != std::string_view::npos; ++line)
    begin = text.find('\n', begin) == std::string_view::npos ? text.size() : text.find('\n', begin) + 1;
  for (std::size_t column = 1; column < place.column && begin < text.size(); ++column)
    begin += std::max<std::size_t>(1, character_length(text.substr(begin)));
  return begin < text.size() ? text[begin] : '\n';
}

std::string join_surrogates(std::string_view text) {
  std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{') return std::string(text);
  std::string joined;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      joined += text[i++];
      continue;
    }
    auto high = escaped_unit(text.substr(i));
    auto low = high ? escaped_unit(text.substr(i + 6)) : std::nullopt;
    bool is_pair = low && *high >= 0xd800 && *high < 0xdc00 && *low >= 0xdc00 && *low < 0xe000;
    if (is_pair)
      joined += fmt::format("\\U{:08x}", 0x10000 + ((*high - 0xd800) << 10) + (*low - 0xdc00));
    else
      joined += text.substr(i, 2);
    i += is_pair ? 12 : 2;
  }
  return joined;
}

}  // namespace sluice::flow
