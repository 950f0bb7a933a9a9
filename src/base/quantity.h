#pragma once
// Quantities with types, and how a person reads them.
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace sluice {

struct ByteCount {
  std::uint64_t value = 0;
  auto operator<=>(const ByteCount&) const = default;
  ByteCount& operator+=(ByteCount more) {
    value += more.value;
    return *this;
  }
};

/// Reads "512", "64K", "10M", "1.5G", also with iB or B behind the unit; all units are binary.
/// Errors: a sentence for the user that says what was expected.
std::expected<ByteCount, std::string> parse_byte_count(std::string_view text);

/// "0 B", "999 B", "1.50 KiB", "12.0 MiB": three figures, binary units (IEC 80000-13).
std::string format_bytes(ByteCount bytes);

/// The same for bytes a second: "12.0 MiB/s".
std::string format_rate(double bytes_per_second);

}  // namespace sluice
