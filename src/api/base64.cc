#include "api/base64.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace sluice::api {
namespace {

constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t kNoLetter = 0xff;

constexpr std::array<std::uint8_t, 256> make_values() {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNoLetter);
  for (std::size_t i = 0; i < kLetters.size(); ++i)
    values[static_cast<std::uint8_t>(kLetters[i])] = static_cast<std::uint8_t>(i);
  values['-'] = values['+'];
  values['_'] = values['/'];
  return values;
}

constexpr std::array<std::uint8_t, 256> kValues = make_values();

// A padded text has a length that four divides; one without padding leaves it out altogether.
std::string_view without_padding(std::string_view text) {
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) {
    if (padding == 0 && text.size() % 4 != 0) break;
    text.remove_suffix(1);
  }
  return text;
}

}  // namespace

void append_base64(std::string& to, std::string_view bytes) {
  to.reserve(to.size() + (bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) group = group << 8 | (i < count ? static_cast<std::uint8_t>(bytes[at + i]) : 0);
    for (std::size_t i = 0; i < 4; ++i) to += i <= count ? kLetters[group >> (18 - 6 * i) & 0x3f] : '=';
  }
}

std::optional<std::string> bytes_from_base64(std::string_view text) {
  text = without_padding(text);
  bool both_alphabets = text.find_first_of("-_") != text.npos && text.find_first_of("+/") != text.npos;
  if (text.size() % 4 == 1 || both_alphabets) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t group = 0;
  unsigned bits = 0;
  for (char letter : text) {
    std::uint8_t value = kValues[static_cast<std::uint8_t>(letter)];
    if (value == kNoLetter) return std::nullopt;
    group = (group << 6 | value) & 0xfff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(group >> bits & 0xff);
  }
  if ((group & ((1u << bits) - 1)) != 0) return std::nullopt;  // bits that no byte has: a text was cut or mistyped
  return bytes;
}

}  // namespace sluice::api
