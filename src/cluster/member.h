#pragma once
// A node as the cluster knows it.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/id.h"
#include "net/address.h"

namespace sluice::cluster {

enum class MemberState : std::uint8_t { alive, suspect, dead, left };

std::string_view state_name(MemberState state);

/// Why a node went: `left` said so itself, `refused` is a dead process on a live host, `silent` answered nobody, and
/// `restarted` was seen again, in another life, before anybody had missed it.
enum class LossReason : std::uint8_t { none, left, refused, silent, restarted };

std::string_view reason_name(LossReason reason);

/// What a node says of itself. Its encoding is at most kProfileMax bytes, so that one fits into any datagram.
struct Profile {
  std::string name;        // [a-z0-9-], at most kNameMax
  net::Endpoint endpoint;  // TCP and UDP alike
  std::map<std::string, std::string> labels;
  std::string version;  // of the program
  bool operator==(const Profile&) const = default;
};

inline constexpr std::size_t kProfileMax = 768;
inline constexpr std::size_t kNameMax = 63;
inline constexpr std::size_t kVersionMax = 32;
inline constexpr std::size_t kLabelsMax = 32;
inline constexpr std::size_t kLabelKeyMax = 63;
inline constexpr std::size_t kLabelValueMax = 128;

/// What is wrong with the profile, in a sentence for the user; nothing if others will take it.
std::optional<std::string> profile_problem(const Profile& profile);

struct Member {
  NodeId id;
  Profile profile;
  MemberState state = MemberState::alive;
  std::uint64_t incarnation = 0;
  std::uint64_t instance = 0;            // which start of the node: it grows with each
  LossReason reason = LossReason::none;  // of a member that is dead or has left
};

}  // namespace sluice::cluster
