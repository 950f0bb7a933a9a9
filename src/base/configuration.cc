#include "base/configuration.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice {
namespace {

using Refusal = std::unexpected<std::string>;

constexpr std::string_view kBlanks = " \t\r";
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";  // of editors that put one before UTF-8
constexpr std::size_t kShown = 40;

std::string_view trim(std::string_view text) {
  std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

bool has_control_character(std::string_view text) {
  return std::ranges::any_of(text, [](char c) {
    auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
  });
}

std::expected<std::string, std::string> read_key(std::string_view text) {
  if (text.empty()) return Refusal("a key is missing before the =; write KEY = VALUE");
  bool plain =
      std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
  if (!plain || text.starts_with('-'))
    return Refusal(fmt::format("'{}' is no key; a key is the long name of an option without its dashes, as in listen",
                               text.substr(0, kShown)));
  return std::string(text);
}

std::string_view without_comment(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '#' && (i == 0 || kBlanks.find(text[i - 1]) != kBlanks.npos)) return trim(text.substr(0, i));
  return text;
}

std::expected<std::string, std::string> read_value(std::string_view key, std::string_view text) {
  std::string_view value;
  if (text.starts_with('"') || text.starts_with('\'')) {
    std::size_t end = text.find(text[0], 1);
    if (end == text.npos) return Refusal(fmt::format("the quote of {} is not closed", key));
    value = text.substr(1, end - 1);
    if (!without_comment(trim(text.substr(end + 1))).empty())
      return Refusal(fmt::format("something follows the closing quote of {}", key));
  } else {
    value = without_comment(text);
  }
  if (value.empty()) return Refusal(fmt::format("{} has no value; leave the line out, or give one", key));
  return std::string(value);
}

std::expected<ConfigurationLine, std::string> read_line(std::string_view line) {
  if (has_control_character(line)) return Refusal("the line holds a control character");
  std::size_t equals = line.find('=');
  if (line.starts_with('[') && equals == line.npos)
    return Refusal(fmt::format("'{}': there are no sections; write KEY = VALUE", line.substr(0, kShown)));
  if (equals == line.npos) return Refusal(fmt::format("'{}' is no setting; write KEY = VALUE", line.substr(0, kShown)));
  auto key = read_key(trim(line.substr(0, equals)));
  if (!key) return Refusal(key.error());
  auto value = read_value(*key, trim(line.substr(equals + 1)));
  if (!value) return Refusal(value.error());
  return ConfigurationLine{.number = 0, .key = *std::move(key), .value = *std::move(value)};
}

}  // namespace

std::expected<std::vector<ConfigurationLine>, ConfigurationError> parse_configuration(std::string_view text) {
  std::vector<ConfigurationLine> lines;
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  for (std::size_t number = 1; !text.empty(); ++number) {
    std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    auto read = read_line(line);
    if (!read) return std::unexpected(ConfigurationError{.line = number, .message = read.error()});
    read->number = number;
    lines.push_back(*std::move(read));
  }
  return lines;
}

}  // namespace sluice
