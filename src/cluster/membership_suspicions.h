#pragma once
// Members that somebody could not reach, and how long each has to object before it is taken for dead.
//
// The time shrinks with every other member that could not reach the suspect either (Lifeguard): without confirmation it may be
// the accuser that is not well, so it waits longer. It shrinks by the logarithm, since the first confirmation says most.
// Threading: none of its own; no clock, no I/O.
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "cluster/gossip_message.h"
#include "cluster/membership_options.h"

namespace sluice::cluster {

class MembershipSuspicions final {
 public:
  explicit MembershipSuspicions(const MembershipOptions& options) : options_(options) {}

  struct Start {
    NodeId subject;
    Revision revision;
    NodeId accuser;
    std::size_t members = 0;  // present, we and the subject among them
  };
  /// Requires: there is none of the subject.
  void start(const Start& start, TimePoint now);
  bool contains(const NodeId& subject) const { return suspicions_.contains(subject); }
  std::size_t size() const { return suspicions_.size(); }
  /// One more accuses it. True if that is news: a new accuser, and not more of them than count.
  bool confirm(const NodeId& subject, const NodeId& accuser);
  void erase(const NodeId& subject);
  /// What one would tell the subject; nothing if it is not suspected.
  std::optional<Accusation> accusation(const NodeId& subject) const;

  /// The next whose time is over. It stays until it is erased or put off.
  std::optional<NodeId> poll_expired(TimePoint now) const;
  void put_off(const NodeId& subject, TimePoint until);
  /// We were not running for so long: everybody gets it back.
  void put_off_all(Duration by);
  std::optional<TimePoint> deadline() const;

 private:
  struct Suspicion {
    Revision revision;
    std::vector<NodeId> accusers;
    std::size_t confirmations_possible = 0;
    TimePoint ends;
  };
  Duration patience(const Suspicion& suspicion) const;
  void set_end(const NodeId& subject, Suspicion& suspicion, TimePoint ends);

  const MembershipOptions& options_;
  std::map<NodeId, Suspicion> suspicions_;
  std::set<std::pair<TimePoint, NodeId>> ends_;
};

}  // namespace sluice::cluster
