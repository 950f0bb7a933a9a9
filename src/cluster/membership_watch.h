#pragma once
// The members with whom we keep a connection, so that their death shows at once: the next few behind us on the ring. So every
// member is watched by as many others, whoever they are.
//
// It asks for connections, one at a time for each member; the shell dials and says how it went. Others are asked for too: when
// a member does not answer datagrams, a connection is the last thing to try.
// Threading: none of its own; no clock, no I/O.
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "cluster/membership_options.h"

namespace sluice::cluster {

class MembershipWatch final {
 public:
  explicit MembershipWatch(const MembershipOptions& options) : options_(options) {}

  /// Whom to watch from now on. Of those who are new, a connection is asked for at once.
  void set_watched(std::vector<NodeId> ids, TimePoint now);
  const std::vector<NodeId>& watched() const { return watched_; }
  bool watches(const NodeId& id) const;
  /// Grows with every change of `watched`.
  std::uint64_t version() const { return version_; }

  /// Asks for a connection, unless that was asked for and is not answered yet.
  void ask(const NodeId& id);
  void on_connected(const NodeId& id);
  /// A connection broke, or could not be made. A watched one is tried again later; `at_once`: and now.
  void on_closed(const NodeId& id, bool at_once, TimePoint now);

  /// Whether one more try at once is worth it: not if the last was one, since somebody else may answer there, and hang up
  /// each time.
  bool may_retry(const NodeId& id) const { return !retried_.contains(id); }

  void on_deadline(TimePoint now);
  std::optional<TimePoint> deadline() const;
  std::optional<NodeId> poll_dial();

 private:
  struct Line {
    bool connected = false;
    Duration wait{};
    TimePoint due;  // the next try, if it is neither connected nor asked for
  };
  const MembershipOptions& options_;
  std::vector<NodeId> watched_;
  std::map<NodeId, Line> lines_;  // of the watched
  std::set<NodeId> retried_;      // asked for at once after the last try, and not reached since
  std::vector<NodeId> asked_;     // for whom an answer of the shell is awaited, or that wait in dials_
  std::deque<NodeId> dials_;
  std::uint64_t version_ = 0;
};

}  // namespace sluice::cluster
