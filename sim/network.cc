#include "sim/network.h"

#include <cmath>

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;

// A segment that was lost is sent again after this, doubling (RFC 6298 starts at 1 s, Linux goes down to 0.2 s).
constexpr Duration kRetransmission = 200ms;

}  // namespace

Duration Network::delay() {
  double more = -std::log(1 - random_.fraction());
  auto tail = std::chrono::duration_cast<Duration>(
      std::chrono::duration<double, Duration::period>(options_.delay_mean_more) * more);
  Duration delay = options_.delay_min + tail;
  if (options_.straggler_share > 0 && random_.fraction() < options_.straggler_share)
    delay += Duration(random_.below(static_cast<std::uint64_t>(options_.straggler_max.count())));
  return delay;
}

Network::Fate Network::send(NodeIndex from, NodeIndex to) {
  Fate fate;
  if (!passes(from, to)) return fate;
  if (options_.loss > 0 && random_.fraction() < options_.loss) return fate;
  fate.copies = options_.duplicate > 0 && random_.fraction() < options_.duplicate ? 2 : 1;
  for (unsigned i = 0; i < fate.copies; ++i) fate.delays[i] = delay();
  return fate;
}

Duration Network::segment_delay() {
  Duration total{};
  Duration wait = kRetransmission;
  while (options_.loss > 0 && random_.fraction() < options_.loss && wait < 10s) {
    total += wait;
    wait *= 2;
  }
  return total + delay();
}

void Network::heal() {
  group_of_.clear();
  one_way_.clear();
  deaf_.clear();
  mute_.clear();
}

bool Network::passes(NodeIndex from, NodeIndex to) const {
  if (!group_of_.empty() && group_of_[from] != group_of_[to]) return false;
  if (!mute_.empty() && mute_.contains(from)) return false;
  if (!deaf_.empty() && deaf_.contains(to)) return false;
  return one_way_.empty() || !one_way_.contains({from, to});
}

}  // namespace sluice::sim
