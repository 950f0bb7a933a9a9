#pragma once
// What nodes tell each other in datagrams, as bytes: docs/protocol-gossip.md has the tables.
//
// A payload (what the seal encloses) is one body and any number of updates:
//
//   kind 1 | length of the body 2 | body | { update kind 1 | length 2 | update }*
//
// So it can grow: bytes behind the known fields of a body or an update are skipped, updates of an unknown kind are skipped,
// payloads of an unknown kind are dropped. Announcements are passed on as they came, with the fields that we do not know.
// What a sender of ours would never write (a length that overruns, a state that does not exist) drops the whole payload.
// Threading: pure values and functions.
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/id.h"
#include "cluster/member.h"

namespace sluice::cluster {

/// As much as a datagram of ours encloses (cluster/datagram_seal.h).
inline constexpr std::size_t kGossipPayloadMax = 1200;

/// Which of two statements about a member is the later one. A node that is accused wrongly raises the incarnation. The
/// instance is which start of the node speaks; it decides between two lives that came to the same incarnation.
struct Revision {
  std::uint64_t incarnation = 0;
  std::uint64_t instance = 0;
  auto operator<=>(const Revision&) const = default;
};

/// Nobody comes here by counting; a greater one would leave no room for the refutation.
inline constexpr std::uint64_t kIncarnationMax = std::uint64_t{1} << 62;

// --- updates -----------------------------------------------------------------------------------------------------

/// "I am, and this is my profile." Still as bytes: most are known already, and then the profile need not be read.
struct AnnouncementView {
  NodeId id;
  Revision revision;
  std::string_view profile_bytes;
  bool operator==(const AnnouncementView&) const = default;
};

/// "I have not heard of `subject`" (suspect), "it is gone" (dead), or by the subject itself: "I go" (left).
struct Accusation {
  MemberState state = MemberState::suspect;
  NodeId subject;
  Revision revision;
  NodeId accuser;
  LossReason reason = LossReason::none;
  bool operator==(const Accusation&) const = default;
};

using Update = std::variant<AnnouncementView, Accusation>;

std::string encode_update(const AnnouncementView& announcement);
std::string encode_update(const Accusation& accusation);

/// Requires: no profile_problem.
std::string encode_profile(const Profile& profile);
/// Errors: nothing, if it is not what a node of ours says of itself: a name, an address or labels that none may have.
std::optional<Profile> decode_profile(std::string_view bytes);

// --- bodies ------------------------------------------------------------------------------------------------------

/// `sequence` belongs to the sender of the ping; `digest` sums up all that the sender knows (membership_sync.h).
struct Ping {
  std::uint32_t sequence = 0;
  std::uint64_t instance = 0;
  std::uint64_t digest = 0;
  bool operator==(const Ping&) const = default;
};
struct Ack {
  std::uint32_t sequence = 0;
  std::uint64_t instance = 0;
  std::uint64_t digest = 0;
  bool operator==(const Ack&) const = default;
};
/// Asks a third to ping `target`.
struct RelayRequest {
  std::uint32_t sequence = 0;
  NodeId target;
  bool operator==(const RelayRequest&) const = default;
};
struct RelayAnswer {
  std::uint32_t sequence = 0;
  bool reached = false;
  bool operator==(const RelayAnswer&) const = default;
};
/// News: only updates.
struct Rumours {
  bool operator==(const Rumours&) const = default;
};
/// From a node to an address of which it knows nothing else. Its own announcement is the first update.
struct Join {
  std::uint64_t instance = 0;
  std::uint64_t digest = 0;
  bool wants_list = false;
  bool operator==(const Join&) const = default;
};
/// To one who asks to join: "nobody answers at the address that you advertise".
struct JoinRefused {
  bool operator==(const JoinRefused&) const = default;
};
/// The members in buckets, each as one sum; `shared` is the digest of whatever else the nodes agree on.
struct Digest {
  std::uint64_t shared = 0;
  std::vector<std::uint64_t> buckets;  // a power of two, at most kDigestBucketsMax
  bool operator==(const Digest&) const = default;
};
inline constexpr unsigned kDigestBitsMax = 7;
inline constexpr std::size_t kDigestBucketsMax = std::size_t{1} << kDigestBitsMax;

struct SummaryEntry {
  NodeId id;
  Revision revision;
  MemberState state = MemberState::alive;  // alive, dead or left: a suspicion does not travel so
  bool operator==(const SummaryEntry&) const = default;
};
inline constexpr std::size_t kSummaryEntrySize = 33;
/// Every member that the sender knows between two positions of the ring, these included.
struct SummaryRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::vector<SummaryEntry> entries;
  bool operator==(const SummaryRange&) const = default;
};
inline constexpr std::size_t kSummaryRangeOverhead = 19;
struct Summary {
  std::uint64_t shared = 0;
  std::vector<SummaryRange> ranges;
  bool operator==(const Summary&) const = default;
};
/// Asks for what the receiver knows of these.
struct Request {
  std::vector<NodeId> ids;
  bool operator==(const Request&) const = default;
};
/// Asks for the members from this position of the ring on.
struct Pull {
  std::uint64_t position = 0;
  bool operator==(const Pull&) const = default;
};
/// Updates that are no news to the sender: an answer to a Summary, a Request, a Pull or a Join. Of the latter two it says
/// which part of the ring this is all of.
struct Records {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  bool ranged = false;
  bool ends_burst = false;  // ask for the next
  bool ends_list = false;   // there is no next
  bool operator==(const Records&) const = default;
};

using GossipBody = std::variant<Ping, Ack, RelayRequest, RelayAnswer, Rumours, Join, JoinRefused, Digest, Summary,
                                Request, Pull, Records>;

struct GossipMessage {
  GossipBody body;
  std::vector<Update> updates;
};

/// Reads a payload. The updates borrow from it. Errors: nothing, for what is not ours, and for kinds that we do not know.
std::optional<GossipMessage> decode_gossip(std::string_view payload);

/// Writes one payload: the body, then updates as long as they fit.
class GossipWriter final {
 public:
  explicit GossipWriter(const GossipBody& body);
  /// False, and nothing is added, if it does not fit any more.
  bool add(std::string_view encoded_update);
  std::size_t room() const { return kGossipPayloadMax - bytes_.size(); }
  bool has_updates() const { return bytes_.size() > body_size_; }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
  std::size_t body_size_ = 0;
};

}  // namespace sluice::cluster
