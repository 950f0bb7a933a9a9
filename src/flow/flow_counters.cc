#include "flow/flow_counters.h"

#include <algorithm>

#include "base/require.h"

namespace sluice::flow {

LinkCounts& LinkCounts::operator+=(const LinkCounts& more) {
  in += more.in;
  out += more.out;
  dropped += more.dropped;
  dead += more.dead;
  in_flight += more.in_flight;
  return *this;
}

Activity& Activity::operator+=(const Activity& more) {
  busy += more.busy;
  idle += more.idle;
  held_back += more.held_back;
  return *this;
}

LinkCounts count_link(const LinkEnds& ends) {
  REQUIRE(ends.sent || ends.received);
  std::uint64_t sent = ends.sent.value_or(0);
  std::uint64_t last = ends.received.value_or(sent - std::min(sent, ends.dropped));
  LinkCounts counts;
  counts.dropped = ends.dropped;
  counts.out = last - std::min(last, ends.waiting_behind);
  std::uint64_t first = ends.sent.value_or(last + ends.dropped) + ends.waiting_before;
  counts.in = std::max(first, counts.out + counts.dropped);
  counts.in_flight = counts.in - counts.out - counts.dropped;
  INVARIANT(counts.balanced());
  return counts;
}

void ActivityEstimate::on_look(Doing doing, TimePoint now) {
  Duration passed = std::max(now - looked_at_, Duration::zero());
  looked_at_ = std::max(looked_at_, now);
  switch (doing) {
    case Doing::busy:
      activity_.busy += passed;
      break;
    case Doing::idle:
      activity_.idle += passed;
      break;
    case Doing::held_back:
      activity_.held_back += passed;
      break;
  }
}

}  // namespace sluice::flow
