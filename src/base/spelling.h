#pragma once
// Spelling help: the known name nearest to a mistyped one.
#include <span>
#include <string>
#include <string_view>

namespace sluice {

/// The nearest of `known` to `typed` by optimal string alignment distance (Damerau 1964: insertions, deletions,
/// substitutions, and swaps of neighbours), or empty when none is near enough to be what was meant: more than a third
/// of the letters wrong, and more than two. Of equally near ones the first is returned.
std::string nearest_name(std::string_view typed, std::span<const std::string> known);

/// "; did you mean 'X'?" or nothing.
std::string did_you_mean(std::string_view typed, std::span<const std::string> known);

}  // namespace sluice
