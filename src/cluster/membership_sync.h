#pragma once
// How two lists of members become one, with little said where they agree.
//
//   every ping and ack      one sum over everything                      8 bytes
//   A -> B  Digest          the sums over parts of the ring              where the sums above differ
//   B -> A  Summary         who is in the parts that differ, and at which revision
//   A -> B  Records         what A knows better; Request: what B knows better
//   B -> A  Records
//
// No side remembers anything of it. Whatever gets lost, the next exchange finds. Each answer has a limit in datagrams; of more
// differences than fit, the exchange starts at another part of the ring each time.
// A new member takes the whole list with Pull and Records, a burst at a time (MembershipPull).
// Threading: pure functions, and one small machine. No clock, no I/O.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/time.h"
#include "cluster/gossip_message.h"
#include "cluster/membership_options.h"
#include "cluster/membership_table.h"
#include "net/address.h"

namespace sluice::cluster {

/// What pings and acks carry: equal if the lists and what is shared beside them are.
std::uint64_t state_digest(const MembershipTable& table, std::uint64_t shared);

/// The sums over so many parts that one holds a few members.
Digest make_digest(const MembershipTable& table, std::uint64_t shared);

/// Summaries of the parts in which we differ from `theirs`; at least one, with what is shared, even if none does.
std::vector<Summary> summarize_differences(const MembershipTable& table, std::uint64_t shared, const Digest& theirs,
                                           std::size_t datagrams_max, SeededRandom& random);

struct Comparison {
  std::vector<NodeId> wanted;   // they know better
  std::vector<NodeId> offered;  // we do
};
Comparison compare(const MembershipTable& table, const Summary& theirs);

/// What we know of the member, as an update that is no news; nothing if we do not know it.
std::optional<std::string> encode_knowledge(const MembershipTable& table, const NodeId& id);
/// Payloads with what we know of `ids`.
std::vector<std::string> encode_records(const MembershipTable& table, const std::vector<NodeId>& ids,
                                        std::size_t datagrams_max);
std::vector<std::string> encode_requests(const std::vector<NodeId>& ids, std::size_t datagrams_max);

/// The members present from `position` on, with `extra` (an encoded update, may be empty) in front.
std::vector<std::string> encode_burst(const MembershipTable& table, std::uint64_t position, std::string_view extra,
                                      std::size_t datagrams_max);

/// The side that takes a whole list from one member. It asks for the next burst when it has all of the last one, and again
/// from where a piece is missing when nothing came for a while.
class MembershipPull final {
 public:
  explicit MembershipPull(const MembershipOptions& options) : options_(options) {}

  bool active() const { return active_; }
  /// Does nothing if we are at it.
  void start(const NodeId& source, const net::Endpoint& endpoint, TimePoint now);
  /// A piece came. True if the next burst is to be asked for.
  bool on_records(const NodeId& sender, const Records& piece, TimePoint now);
  struct Ask {
    net::Endpoint endpoint;
    std::uint64_t position = 0;
  };
  Ask next() const { return {endpoint_, position_}; }
  /// True if it is to be asked again; after some tries it is given up, and the digests do the rest.
  bool on_deadline(TimePoint now);
  std::optional<TimePoint> deadline() const;
  void put_off(Duration by) { due_ += by; }

 private:
  const MembershipOptions& options_;
  bool active_ = false;
  NodeId source_;
  net::Endpoint endpoint_;
  std::uint64_t position_ = 0;              // everything before it has come
  std::map<std::uint64_t, Records> ahead_;  // by their first position, until the gap before them is filled
  unsigned tries_ = 0;
  TimePoint due_;
};

}  // namespace sluice::cluster
