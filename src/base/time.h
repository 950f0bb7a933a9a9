#pragma once
// Time as a value: machines are told what time it is and never read a clock.
#include <chrono>
#include <expected>
#include <string>
#include <string_view>

namespace sluice {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = Clock::duration;

/// Reads a duration such as `10s`, `1m30s`, `500ms`, `1.5h`, `2d`; a number without a unit counts seconds, as in
/// sleep(1).
/// Errors: a sentence for the user that says what was expected.
std::expected<Duration, std::string> parse_duration(std::string_view text);

/// "85 ms", "1.2 s", "3 min 5 s", "2 h 10 min": two figures are enough for a person.
std::string format_duration(Duration duration);

}  // namespace sluice
