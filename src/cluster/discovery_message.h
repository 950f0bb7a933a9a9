#pragma once
// What is said on a multicast group by which nodes and clients find each other, as bytes: docs/protocol-gossip.md,
// "Discovery".
//
// A payload (what the seal encloses) is `kind 1 | length of the body 2 | body`. It grows as gossip does: bytes behind the
// known fields are skipped, payloads of an unknown kind are dropped.
// The seal of discovery has a secret of its own, derived from the gossip secret: a node has one id and one boot number, and
// two sealers of one secret would use each nonce twice. So neither kind of datagram can be replayed as the other, too.
// Threading: pure values and functions.
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cluster/cluster_key.h"
#include "cluster/member.h"
#include "net/address.h"

namespace sluice::cluster {

/// "Who is there?", asked by a program that looks for any node.
struct DiscoveryQuery {
  std::uint64_t question = 0;  // made up by who asks, and not 0; stands in the answers
  std::uint8_t attempt = 0;    // grows each time the same is asked again: more nodes answer then
  bool operator==(const DiscoveryQuery&) const = default;
};

/// "I am here": unasked to everybody, or the answer to a question. The seal says who speaks.
struct DiscoveryAnnouncement {
  std::uint64_t question = 0;  // 0: nobody asked
  Profile profile;
  bool operator==(const DiscoveryAnnouncement&) const = default;
};

using DiscoveryMessage = std::variant<DiscoveryQuery, DiscoveryAnnouncement>;

/// Requires: the profile of an announcement has no profile_problem; a query has a question.
std::string encode_discovery(const DiscoveryMessage& message);
/// Nothing: not what a program of ours would send, or of a kind that only a later version knows.
std::optional<DiscoveryMessage> decode_discovery(std::string_view payload);

std::vector<GossipSecret> discovery_secrets(const std::vector<GossipSecret>& gossip_secrets);

/// "GROUP:PORT". Errors: a sentence; no port, or not an IPv4 group.
std::expected<net::Endpoint, std::string> parse_discovery_group(std::string_view text);

}  // namespace sluice::cluster
