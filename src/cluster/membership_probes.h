#pragma once
// Questions under way to single members ("are you there?"), our own and those that we ask for others.
//
//   asked --ack, or a connection--> answered
//     | retry: again, and through relays
//     | last try: again, through other relays, and by a connection
//     | timeout
//     v
//   failed
//
// Threading: none of its own; no clock, no I/O. It says what to do; the membership has the addresses.
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "cluster/membership_options.h"
#include "net/address.h"

namespace sluice::cluster {

class MembershipProbes final {
 public:
  explicit MembershipProbes(const MembershipOptions& options) : options_(options) {}

  /// `factor`: how much slower than usual, by our own health. Nothing if the target is being asked already, or too many are.
  std::optional<std::uint32_t> start(const NodeId& target, std::uint32_t sequence, unsigned factor, TimePoint now);

  enum class Step { retry, last_try, failed };
  struct Due {
    Step step = Step::retry;
    std::uint32_t sequence = 0;
    NodeId target;
    // Of a failed one: when it began, how many relays were asked, and how many said that they could not reach it either.
    TimePoint started;
    std::size_t relays_asked = 0;
    std::size_t relays_answered = 0;
  };
  /// The next step that is due; a failed probe is gone with it.
  std::optional<Due> poll_due(TimePoint now);
  std::optional<TimePoint> deadline() const;

  /// The target itself answered. False if that sequence is not under way to it.
  bool on_ack(const NodeId& sender, std::uint32_t sequence);
  void on_relay_answer(const NodeId& relay, std::uint32_t sequence, bool reached);
  /// There is a sign of life, or the member is gone: no more questions.
  void erase(const NodeId& target);
  void erase_all() { probes_.clear(); }
  bool asks(const NodeId& target) const;
  void note_relay(std::uint32_t sequence, const NodeId& relay);
  bool was_relay(std::uint32_t sequence, const NodeId& relay) const;
  void put_off_all(Duration by);

 private:
  struct Probe {
    NodeId target;
    TimePoint started;
    unsigned factor = 1;
    Step next = Step::retry;
    TimePoint due;
    std::vector<NodeId> relays;
    std::size_t relays_answered = 0;
  };
  TimePoint due_of(const Probe& probe) const;

  const MembershipOptions& options_;
  std::map<std::uint32_t, Probe> probes_;  // by sequence
};

/// Questions that we ask for others.
class MembershipRelays final {
 public:
  explicit MembershipRelays(const MembershipOptions& options) : options_(options) {}

  struct Requester {
    NodeId target;
    net::Endpoint endpoint;
    std::uint32_t sequence = 0;  // theirs
  };
  /// False if we ask for too many already.
  bool start(std::uint32_t sequence, const Requester& requester, TimePoint now);
  std::optional<Requester> on_ack(const NodeId& sender, std::uint32_t sequence);
  /// The next whose target did not answer in time.
  std::optional<Requester> poll_failed(TimePoint now);
  std::optional<TimePoint> deadline() const;

 private:
  struct Relay {
    Requester requester;
    TimePoint due;
  };
  const MembershipOptions& options_;
  std::map<std::uint32_t, Relay> relays_;  // by our sequence, which is the order of time as well
};

}  // namespace sluice::cluster
