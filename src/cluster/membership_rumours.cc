#include "cluster/membership_rumours.h"

#include <algorithm>
#include <bit>

#include "base/require.h"

namespace sluice::cluster {

void MembershipRumours::add(const NodeId& subject, std::string encoded_update, std::size_t members, TimePoint now) {
  if (rumours_.size() >= options_.rumours_max && !rumours_.contains(subject)) drop_oldest();
  Rumour& rumour = rumours_[subject];
  rumour.encoded = std::move(encoded_update);
  rumour.serial = ++serial_;
  rumour.rounds_left = options_.push_rounds;
  // Each ride doubles those who know, if nobody did: the logarithm of the cluster's size, as in SWIM.
  rumour.rides_left = static_cast<unsigned>(std::bit_width(members));
  fresh_.push_back({.due = now, .subject = subject, .serial = rumour.serial});
}

// The one that waited longest for its rides has been told most often.
void MembershipRumours::drop_oldest() {
  for (std::deque<Turn>* turns : {&riding_, &rounds_, &fresh_}) {
    while (!turns->empty()) {
      Turn turn = turns->front();
      turns->pop_front();
      if (rumour_of(turn) == nullptr) continue;
      rumours_.erase(turn.subject);
      return;
    }
  }
}

MembershipRumours::Rumour* MembershipRumours::rumour_of(const Turn& turn) {
  auto found = rumours_.find(turn.subject);
  return found != rumours_.end() && found->second.serial == turn.serial ? &found->second : nullptr;
}

std::optional<TimePoint> MembershipRumours::push_deadline() const {
  std::optional<TimePoint> due;
  if (!fresh_.empty()) due = fresh_.front().due;
  if (!rounds_.empty() && (!due || rounds_.front().due < *due)) due = rounds_.front().due;
  if (due && pushed_at_) due = std::max(*due, *pushed_at_ + options_.push_gap);
  return due;
}

std::vector<std::string> MembershipRumours::poll_push(TimePoint now) {
  auto due = push_deadline();
  if (!due || *due > now) return {};
  std::vector<GossipWriter> writers;
  while (take_turn(writers, fresh_, now) || take_turn(writers, rounds_, now)) {
  }
  pushed_at_ = now;
  std::vector<std::string> payloads;
  for (GossipWriter& writer : writers) payloads.push_back(writer.take());
  return payloads;
}

// Takes the first turn that is due; false if there is none, or no room for it in this push.
bool MembershipRumours::take_turn(std::vector<GossipWriter>& writers, std::deque<Turn>& turns, TimePoint now) {
  while (!turns.empty() && turns.front().due <= now) {
    Turn turn = turns.front();
    Rumour* rumour = rumour_of(turn);
    if (rumour != nullptr && writers.size() >= options_.push_datagrams_max &&
        rumour->encoded.size() > writers.back().room())
      return false;
    turns.pop_front();
    if (rumour == nullptr) continue;
    put_into(writers, rumour->encoded);
    after_push(turn, *rumour, now);
    return true;
  }
  return false;
}

void MembershipRumours::put_into(std::vector<GossipWriter>& writers, const std::string& encoded) const {
  if (!writers.empty() && writers.back().add(encoded)) return;
  writers.emplace_back(Rumours{});
  bool fits = writers.back().add(encoded);
  INVARIANT(fits);  // one update is at most a profile, which is bounded so that it does
}

void MembershipRumours::after_push(const Turn& turn, Rumour& rumour, TimePoint now) {
  if (--rumour.rounds_left > 0)
    rounds_.push_back({.due = now + options_.push_round_gap, .subject = turn.subject, .serial = turn.serial});
  else
    riding_.push_back({.due = now + options_.ride_time, .subject = turn.subject, .serial = turn.serial});
}

void MembershipRumours::ride_along(GossipWriter& writer, TimePoint now) {
  for (std::size_t left = riding_.size(); left > 0; --left) {
    Turn turn = riding_.front();
    Rumour* rumour = rumour_of(turn);
    bool over = rumour != nullptr && turn.due <= now;
    if (rumour != nullptr && !over && !writer.add(rumour->encoded)) return;
    riding_.pop_front();
    if (rumour == nullptr) continue;
    if (!over && --rumour->rides_left > 0)
      riding_.push_back(turn);
    else
      rumours_.erase(turn.subject);
  }
}

}  // namespace sluice::cluster
