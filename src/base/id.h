#pragma once
// 128-bit identifiers. Each kind of thing has a type of its own, so that one can't stand for another.
// Text is 32 lowercase hexadecimal digits; people may give any unique beginning of it.
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

inline constexpr std::size_t kIdSize = 16;

std::string id_to_text(std::span<const std::uint8_t, kIdSize> bytes);
/// Exactly 32 hexadecimal digits, or nothing.
std::optional<std::array<std::uint8_t, kIdSize>> id_from_text(std::string_view text);
/// From the kernel's random source (getrandom(2)).
std::array<std::uint8_t, kIdSize> random_id_bytes();

template <class Tag>
struct Id {
  std::array<std::uint8_t, kIdSize> bytes{};

  static Id random() { return {random_id_bytes()}; }
  static std::optional<Id> parse(std::string_view text) {
    auto bytes = id_from_text(text);
    if (!bytes) return std::nullopt;
    return Id{*bytes};
  }
  std::string text() const { return id_to_text(bytes); }
  bool is_zero() const { return *this == Id{}; }
  auto operator<=>(const Id&) const = default;
};

using NodeId = Id<struct NodeIdTag>;
using FlowId = Id<struct FlowIdTag>;
using LinkId = Id<struct LinkIdTag>;

/// Digits of an id that a table shows to a person.
inline constexpr std::size_t kShortIdDigits = 8;

}  // namespace sluice
