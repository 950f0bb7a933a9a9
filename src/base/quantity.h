#pragma once
// Quantities with types, and how a person reads them.
#include <cstdint>
#include <string>

namespace sluice {

struct ByteCount {
  std::uint64_t value = 0;
  auto operator<=>(const ByteCount&) const = default;
  ByteCount& operator+=(ByteCount more) {
    value += more.value;
    return *this;
  }
};

/// "0 B", "999 B", "1.50 KiB", "12.0 MiB": three figures, binary units (IEC 80000-13).
std::string format_bytes(ByteCount bytes);

/// The same for bytes a second: "12.0 MiB/s".
std::string format_rate(double bytes_per_second);

}  // namespace sluice
