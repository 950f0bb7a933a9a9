#pragma once
// Finding nodes on one network by multicast, seen from a node: when it announces itself there, whom it answers, and who of
// those that it hears of is worth asking to join. A node has one of these for each network interface that it listens on.
//
// Announcing. At once when we start; while we are alone again and again, less often with time. In company one node speaks
// for all: each waits for a time of its own between half and the whole of `interval`, and whoever hears another member
// of its cluster before waits anew. So a network has some five announcements a minute however many nodes there are,
// and two clusters that started apart hear each other within `interval`.
// Hearing. Who is no member becomes a seed for membership (which asks it, and believes only the answer), but not at once: in a
// large cluster everybody heard it, and would ask. Each waits for a random time, and by then the node is a member as a rule.
// Answering. Questions come from clients. About `answers_wanted` nodes answer, each after a random time of some
// milliseconds; a question that is asked again, since nobody could hear or be reached, is answered by four times as many.
//
// Nothing here is believed but that somebody who holds the key said it. Invariants: answers per second, seeds and answers
// under way are bounded, whatever is said how often.
// Threading: none of its own; no clock, no I/O. Ask poll_datagram and poll_seed until empty after every input.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/id.h"
#include "base/random.h"
#include "base/time.h"
#include "cluster/boot_number.h"
#include "cluster/discovery_message.h"
#include "net/address.h"

namespace sluice::cluster {

/// What membership knows.
class Company {
 public:
  virtual ~Company() = default;
  /// How many members are present, we ourselves included: at least 1.
  virtual std::size_t size() const = 0;
  /// Whether this start of the node is a member: one that was restarted has forgotten everybody, and is none.
  virtual bool contains(const NodeId& id, BootNumber boot) const = 0;
};

struct DiscoveryOptions {
  /// A datagram of some 120 bytes, headers included: 12 bytes a second for one node, or for all that share a network.
  Duration interval = std::chrono::seconds(20);
  /// While alone the wait begins here and doubles: others may start at the same moment, and a datagram may be lost.
  Duration alone_wait_min = std::chrono::milliseconds(500);
  /// Of each other member, by which what all would do at once is drawn out: with 1,000 nodes, 30 or so have asked the new
  /// one before they hear that it is a member.
  Duration seed_spread = std::chrono::milliseconds(1);
  Duration seed_spread_max = std::chrono::seconds(2);
  std::size_t seeds_pending_max = 64;
  /// Enough that one of them arrives and can be reached; few enough not to flood who asked.
  std::size_t answers_wanted = 8;
  Duration answer_spread = std::chrono::milliseconds(3);  // for each that is wanted
  /// A bucket of answers. Recorded questions can be played back, in the name of any address: so a node sends that address
  /// 1 kB a second at most.
  unsigned answers_burst = 16;
  Duration answer_refill = std::chrono::milliseconds(125);
};

/// What was heard and came to nothing.
struct DiscoveryDropped {
  std::uint64_t malformed = 0;     // sealed with our key, and not what a program of ours sends
  std::uint64_t out_of_reach = 0;  // a node on another host's loopback address
  std::uint64_t too_many = 0;      // questions beyond the limit, and nodes beyond it
};

class Discovery final {
 public:
  /// Announces `self`. Requires: no profile_problem. `company` outlives this.
  Discovery(const DiscoveryOptions& options, Profile self, const Company& company, std::uint64_t seed, TimePoint now);
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  // --- inputs ---
  struct Speaker {
    NodeId id;
    BootNumber boot;  // that of a passer-by may ask, and is not believed to tell
    net::Endpoint from;
  };
  /// A datagram that was opened, and was not our own.
  void on_datagram(const Speaker& speaker, std::string_view payload, TimePoint now);
  void on_deadline(TimePoint now);  // early calls do nothing

  // --- outputs ---
  struct Outgoing {
    std::optional<net::Endpoint> to;  // nothing: the group
    std::string payload;
  };
  std::optional<Outgoing> poll_datagram();
  /// Where a node is that is no member yet.
  std::optional<net::Endpoint> poll_seed();
  std::optional<TimePoint> poll_deadline() const;

  const DiscoveryDropped& dropped() const { return dropped_; }

 private:
  struct PendingSeed {
    TimePoint due;
    NodeId id;
    BootNumber boot;
    net::Endpoint endpoint;
  };
  struct PendingAnswer {
    TimePoint due;
    net::Endpoint to;
    std::uint64_t question = 0;
  };

  void on_query(const Speaker& speaker, const DiscoveryQuery& query, TimePoint now);
  void on_announcement(const Speaker& speaker, const DiscoveryAnnouncement& announcement, TimePoint now);
  void carry_out(TimePoint now);
  bool is_wanted(std::uint8_t attempt, std::size_t members);
  bool take_answer(TimePoint now);
  void announce(TimePoint now);
  void wait_for_others(TimePoint now);
  Duration below(Duration limit);
  bool alone() const { return company_.size() <= 1; }

  const DiscoveryOptions options_;
  const Profile self_;
  const Company& company_;
  SeededRandom random_;
  TimePoint announcement_due_;
  Duration alone_wait_;
  unsigned answers_left_;
  TimePoint answers_since_;  // up to which answers_left_ was filled
  std::vector<PendingSeed> seeds_;
  std::vector<PendingAnswer> answers_;  // what the bucket has given within answer_spread
  std::vector<net::Endpoint> found_;
  std::vector<Outgoing> outgoing_;
  DiscoveryDropped dropped_;
};

}  // namespace sluice::cluster
