#include "base/quantity.h"

#include <fmt/format.h>

namespace sluice {

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
