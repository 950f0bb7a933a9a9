#include "base/time.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>

namespace sluice {
namespace {

using namespace std::chrono_literals;

// A century is beyond any pipeline, and far from where the arithmetic of Duration would overflow.
constexpr double kSecondsMax = 100.0 * 365 * 24 * 3600;

struct Unit {
  std::string_view name;
  double seconds;
};
constexpr Unit kUnits[] = {{"ms", 1e-3}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}, {"us", 1e-6}};

std::optional<double> unit_seconds(std::string_view name) {
  for (const Unit& unit : kUnits)
    if (unit.name == name) return unit.seconds;
  return std::nullopt;
}

std::string_view take_unit(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && text[length] >= 'a' && text[length] <= 'z') ++length;
  std::string_view unit = text.substr(0, length);
  text.remove_prefix(length);
  return unit;
}

}  // namespace

std::expected<Duration, std::string> parse_duration(std::string_view text) {
  auto refused = [typed = std::string(text)](std::string_view why) {
    return std::unexpected(fmt::format("'{}' is not a duration: {}; write 10s, 1m30s, 500ms or 2h", typed, why));
  };
  if (text.empty()) return refused("it is empty");
  double seconds = 0;
  bool whole = true;  // a number without a unit stands alone
  while (!text.empty()) {
    double number = 0;
    // `fixed` keeps out 1e9, inf and nan; a sign is no part of a duration.
    if (text.front() == '-' || text.front() == '+') return refused("it has a sign");
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || !std::isfinite(number)) return refused("a number was expected");
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    std::string_view unit = take_unit(text);
    auto unit_length = whole && unit.empty() && text.empty() ? std::optional(1.0) : unit_seconds(unit);
    whole = false;
    if (!unit_length) return refused("the units are us, ms, s, m, h and d");
    seconds += number * *unit_length;
    if (seconds > kSecondsMax) return refused("it is longer than 100 years");
  }
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

std::string format_duration(Duration duration) {
  double seconds = std::chrono::duration<double>(duration).count();
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  auto whole = static_cast<long long>(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

}  // namespace sluice
