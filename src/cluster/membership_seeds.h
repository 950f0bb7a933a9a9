#pragma once
// Addresses at which we hope to find members: from the command line, from discovery. Who is there is learnt from the answer.
//
// While we are alone all of them are asked, again and again, less often with time. In company those go on being asked, rarely,
// at which no member is that we know: two clusters that started apart find each other so.
//
// Addresses that discovery found are forgotten after a while: who lives there announces itself again, and in the life of a
// node the addresses of all who ever came and went would fill any list.
// Threading: none of its own; no clock, no I/O.
#include <functional>
#include <optional>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "cluster/membership_options.h"
#include "net/address.h"

namespace sluice::cluster {

class MembershipSeeds final {
 public:
  explicit MembershipSeeds(const MembershipOptions& options) : options_(options), wait_(options.seed_interval_min) {}

  /// Known ones, and those beyond the limit, are dropped. False for the latter.
  bool add(const net::Endpoint& endpoint, TimePoint now);
  /// One that is forgotten after `seed_memory`. Beyond the limit it takes the place of the oldest of its kind.
  bool add_found(const net::Endpoint& endpoint, TimePoint now);
  /// Somebody answered from there.
  void on_answer(const net::Endpoint& from, const NodeId& sender);
  /// We have lost everybody: start over.
  void hurry(TimePoint now);
  void put_off(Duration by);

  using Covered = std::function<bool(const net::Endpoint&, const std::optional<NodeId>&)>;
  /// Whom to ask now. `covered` says whether a member is at the endpoint or is the one that answered from there.
  std::vector<net::Endpoint> poll_due(bool alone, const Covered& covered, TimePoint now);
  std::optional<TimePoint> deadline() const;

 private:
  struct Seed {
    net::Endpoint endpoint;
    std::optional<NodeId> answered;
    std::optional<TimePoint> expires;  // of one that was found
  };
  bool make_room();

  const MembershipOptions& options_;
  std::vector<Seed> seeds_;
  Duration wait_;  // grows while nobody answers
  TimePoint due_;
};

}  // namespace sluice::cluster
