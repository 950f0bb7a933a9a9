#include "cluster/boot_number.h"

#include <algorithm>
#include <charconv>

#include "base/random.h"
#include "base/require.h"

namespace sluice::cluster {
namespace {

constexpr std::size_t kFileMax = 64;
constexpr unsigned kRandomBits = 24;
// Half of what fits, so that counting on from the greatest value that is believed never ends.
constexpr std::uint64_t kStartMax = std::uint64_t{1} << 39;

std::uint64_t random_bits() { return random_seed() >> (64 - kRandomBits); }

/// 0: none that could be read.
std::expected<std::uint64_t, FileError> last_start(const std::string& path) {
  auto content = read_private_file(path, {.size_max = kFileMax, .content = FileContent::open});
  if (!content) {
    if (content.error().kind == FileErrorKind::system) return std::unexpected(content.error());
    return 0;
  }
  std::uint64_t start = 0;
  const std::string_view text = content->view();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), start);
  const bool whole = error == std::errc() && std::string_view(end, text.data() + text.size()) == "\n";
  return whole && start < kStartMax ? start : 0;
}

std::uint64_t seconds_of(WallTime now) {
  const auto seconds = now.time_since_epoch().count();
  if (seconds < 0) return 0;
  return std::min(static_cast<std::uint64_t>(seconds), kStartMax);
}

}  // namespace

BootNumber BootNumber::passer_by() { return {random_bits()}; }

std::expected<BootNumber, FileError> next_boot(const std::string& data_directory, WallTime now) {
  const std::string path = data_directory + "/boot";
  auto last = last_start(path);
  if (!last) return std::unexpected(last.error());
  const std::uint64_t start = std::max(*last + 1, seconds_of(now));
  if (auto written = replace_private_file(path, std::to_string(start) + "\n"); !written)
    return std::unexpected(written.error());
  return BootNumber{start << kRandomBits | random_bits()};
}

}  // namespace sluice::cluster
