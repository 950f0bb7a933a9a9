#pragma once
// News under way: what is still to be told to others, and how often.
//
// A rumour is pushed to a few members chosen at random as soon as it is known, and twice more after a moment, by everybody who
// hears it for the first time; so it reaches all in a few round trips. After that it rides on pings and acks for a while. What
// gets lost all the same is found by comparing digests.
// Of each member only the latest rumour is kept: it takes the place of an older one.
// Threading: none of its own; no clock, no I/O.
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "cluster/gossip_message.h"
#include "cluster/membership_options.h"

namespace sluice::cluster {

class MembershipRumours final {
 public:
  explicit MembershipRumours(const MembershipOptions& options) : options_(options) {}

  /// `members`: how many there are, from which it follows how often it is told.
  void add(const NodeId& subject, std::string encoded_update, std::size_t members, TimePoint now);
  void forget(const NodeId& subject) { rumours_.erase(subject); }

  /// Payloads to push now, each of them to every chosen member. Empty if nothing is due.
  std::vector<std::string> poll_push(TimePoint now);
  std::optional<TimePoint> push_deadline() const;

  /// Adds what still rides along, as much as fits.
  void ride_along(GossipWriter& writer, TimePoint now);

  std::size_t size() const { return rumours_.size(); }

 private:
  struct Rumour {
    std::string encoded;
    std::uint64_t serial = 0;  // a newer rumour of the same member has another
    unsigned rounds_left = 0;
    unsigned rides_left = 0;
  };
  struct Turn {
    TimePoint due;  // of one that rides: until when
    NodeId subject;
    std::uint64_t serial = 0;
  };
  Rumour* rumour_of(const Turn& turn);
  void drop_oldest();
  void put_into(std::vector<GossipWriter>& writers, const std::string& encoded) const;
  void after_push(const Turn& turn, Rumour& rumour, TimePoint now);
  bool take_turn(std::vector<GossipWriter>& writers, std::deque<Turn>& turns, TimePoint now);

  const MembershipOptions& options_;
  std::map<NodeId, Rumour> rumours_;
  // Two queues, each in the order of time by itself: what was just heard, and the later rounds.
  std::deque<Turn> fresh_;
  std::deque<Turn> rounds_;
  std::deque<Turn> riding_;
  std::uint64_t serial_ = 0;
  std::optional<TimePoint> pushed_at_;
};

}  // namespace sluice::cluster
