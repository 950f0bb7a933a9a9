#include "base/quantity.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace sluice {

std::expected<ByteCount, std::string> parse_byte_count(std::string_view text) {
  constexpr std::string_view kUnits = "KMGTP";
  auto refusal =
      std::unexpected(fmt::format("'{}' is no size; write bytes, or a number with a unit: 512, 64K, 10M, 1G", text));
  double amount = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount);
  if (error != std::errc() || !std::isfinite(amount) || amount < 0) return refusal;
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.ends_with("iB")) unit.remove_suffix(2);
  if (unit.ends_with('B')) unit.remove_suffix(1);
  if (unit.size() > 1) return refusal;
  if (!unit.empty()) {
    char upper = unit[0] >= 'a' && unit[0] <= 'z' ? static_cast<char>(unit[0] - 'a' + 'A') : unit[0];
    std::size_t power = kUnits.find(upper);
    if (power == std::string_view::npos) return refusal;
    amount *= std::pow(1024.0, static_cast<double>(power + 1));
  }
  if (amount >= 0x1p63) return refusal;
  return ByteCount{static_cast<std::uint64_t>(amount)};
}

std::string format_bytes(ByteCount bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes.value < 1000) return fmt::format("{} B", bytes.value);
  double amount = static_cast<double>(bytes.value) / 1024;
  std::size_t unit = 0;
  while (amount >= 999.5 && unit + 1 < std::size(kUnits)) {
    amount /= 1024;
    ++unit;
  }
  int decimals = amount < 9.995 ? 2 : amount < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", amount, decimals, kUnits[unit]);
}

std::string format_rate(double bytes_per_second) {
  return format_bytes(ByteCount{static_cast<std::uint64_t>(bytes_per_second)}) + "/s";
}

}  // namespace sluice
