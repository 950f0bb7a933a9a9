#include "base/spelling.h"

#include <algorithm>
#include <vector>

namespace sluice {
namespace {

// A longer word is never a mistyped name of ours, and the table below is quadratic.
constexpr std::size_t kLengthMax = 64;

// In three letters, two mistakes would make any word of any other.
std::size_t allowed_mistakes(std::size_t length) { return length <= 3 ? 1 : std::max<std::size_t>(2, length / 3); }

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t substitution = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, substitution});
      bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string nearest_name(std::string_view typed, std::span<const std::string> known) {
  std::string_view nearest;
  std::size_t nearest_distance = kLengthMax;
  if (typed.empty() || typed.size() > kLengthMax) return {};
  for (const std::string& name : known) {
    if (name.size() > kLengthMax) continue;
    std::size_t wrong = distance(typed, name);
    std::size_t allowed = allowed_mistakes(std::max(typed.size(), name.size()));
    if (wrong > allowed || wrong >= nearest_distance) continue;
    nearest = name;
    nearest_distance = wrong;
  }
  return std::string(nearest);
}

std::string did_you_mean(std::string_view typed, std::span<const std::string> known) {
  std::string nearest = nearest_name(typed, known);
  return nearest.empty() ? nearest : "; did you mean '" + nearest + "'?";
}

}  // namespace sluice
