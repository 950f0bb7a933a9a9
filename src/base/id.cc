#include "base/id.h"

#include "base/random.h"

namespace sluice {
namespace {

std::optional<unsigned> digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A') + 10;
  return std::nullopt;
}

}  // namespace

std::string id_to_text(std::span<const std::uint8_t, kIdSize> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * kIdSize);
  for (std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::optional<std::array<std::uint8_t, kIdSize>> id_from_text(std::string_view text) {
  if (text.size() != 2 * kIdSize) return std::nullopt;
  std::array<std::uint8_t, kIdSize> bytes{};
  for (std::size_t i = 0; i < kIdSize; ++i) {
    auto high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    if (!high || !low) return std::nullopt;
    bytes[i] = static_cast<std::uint8_t>(*high << 4 | *low);
  }
  return bytes;
}

std::array<std::uint8_t, kIdSize> random_id_bytes() {
  std::array<std::uint8_t, kIdSize> bytes;
  fill_random(bytes);
  return bytes;
}

}  // namespace sluice
