#pragma once
// Whether another process uses our id: a data directory that was copied.
//
// That somebody announces us with another instance is no proof: it may be our own last life. So whoever is at the address that
// was announced is pinged; an answer under our id, again after a moment, is proof. Of the two the one with the lower instance
// yields: the seal refuses its datagrams wherever the other was heard.
// Until it is decided we do not try to outbid the other: both would raise their incarnations with every round trip.
// Threading: none of its own; no clock, no I/O.
#include <cstdint>
#include <optional>

#include "base/time.h"
#include "net/address.h"

namespace sluice::cluster {

class MembershipRival final {
 public:
  explicit MembershipRival(std::uint64_t own_instance) : own_(own_instance) {}

  /// We were announced at `where` by `instance`. True if that is the first that we hear of it.
  bool on_sighting(std::uint64_t instance, const net::Endpoint& where, TimePoint now);
  /// A datagram came from our own id.
  void on_datagram(std::uint64_t instance, const net::Endpoint& from, TimePoint now);

  /// Whom to ping now.
  std::optional<net::Endpoint> poll_challenge(TimePoint now);
  std::optional<TimePoint> deadline() const;

  struct Proof {
    net::Endpoint endpoint;
    bool we_yield = false;
  };
  /// Once for each rival.
  std::optional<Proof> poll_proof();
  /// Nobody answered, or the other has yielded: our word counts again. Once.
  bool poll_settled(TimePoint now);

 private:
  struct Suspect {
    std::uint64_t instance = 0;
    net::Endpoint endpoint;
    TimePoint seen;
    unsigned challenges = 0;
    std::optional<TimePoint> heard;
    bool proven = false;
    bool told = false;
    bool settled = false;
  };
  std::uint64_t own_;
  std::optional<Suspect> suspect_;
};

}  // namespace sluice::cluster
