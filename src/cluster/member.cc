#include "cluster/member.h"

#include <arpa/inet.h>  // inet_pton: text and bytes of an address, no I/O
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

namespace sluice::cluster {
namespace {

bool is_name_character(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }
bool is_key_character(char c) { return is_name_character(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '.'; }
// Above ASCII is UTF-8, which may stand in a value.
bool is_printable(char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; }

std::optional<std::string> label_problem(std::string_view key, std::string_view value) {
  if (key.empty() || key.size() > kLabelKeyMax || !std::ranges::all_of(key, is_key_character))
    return fmt::format("the key of a label has letters, digits, '-', '_' and '.', at most {} of them", kLabelKeyMax);
  if (value.size() > kLabelValueMax)
    return fmt::format("the value of label '{}' is longer than {} bytes", key, kLabelValueMax);
  if (!std::ranges::all_of(value, is_printable))
    return fmt::format("the value of label '{}' has control characters", key);
  return std::nullopt;
}

// Somewhere that one node can be: not everybody (255.255.255.255, 224/4, ff00::/8) and not nobody (0/8, ::).
bool is_unicast(std::span<const std::uint8_t> address) {
  if (address.size() == 4) return address[0] != 0 && address[0] < 224;
  return address[0] != 0xff && std::ranges::any_of(address, [](std::uint8_t byte) { return byte != 0; });
}

std::optional<std::string> endpoint_problem(const net::Endpoint& endpoint) {
  if (endpoint.port == 0) return "the advertised port is 0; nobody can be reached there";
  std::array<std::uint8_t, 16> bytes{};
  bool is_v4 = ::inet_pton(AF_INET, endpoint.address.c_str(), bytes.data()) == 1;
  if (!is_v4 && ::inet_pton(AF_INET6, endpoint.address.c_str(), bytes.data()) != 1)
    return fmt::format("'{}' is no IP address; nodes are advertised under one", endpoint.address);
  if (!is_unicast(std::span(bytes).first(is_v4 ? 4 : 16)))
    return fmt::format("'{}' is not the address of one host; advertise one that the others can reach",
                       endpoint.address);
  return std::nullopt;
}

std::size_t labels_size(const Profile& profile) {
  std::size_t size = 0;
  for (const auto& [key, value] : profile.labels) size += key.size() + value.size() + 2;
  return size;
}

// What the other fields of a profile take at most, lengths included: the address, the port, the name, the version.
constexpr std::size_t kLabelsRoom = kProfileMax - (1 + 16 + 2) - (1 + kNameMax) - (1 + kVersionMax) - 1;

}  // namespace

std::optional<std::string> profile_problem(const Profile& profile) {
  if (profile.name.empty()) return "a node needs a name";
  if (profile.name.size() > kNameMax) return fmt::format("the node's name is longer than {} characters", kNameMax);
  if (!std::ranges::all_of(profile.name, is_name_character))
    return "a node's name has lower-case letters, digits and '-' only";
  if (auto problem = endpoint_problem(profile.endpoint)) return problem;
  if (profile.version.size() > kVersionMax || !std::ranges::all_of(profile.version, is_printable))
    return fmt::format("the version is not at most {} printable characters", kVersionMax);
  if (profile.labels.size() > kLabelsMax) return fmt::format("a node has at most {} labels", kLabelsMax);
  for (const auto& [key, value] : profile.labels)
    if (auto problem = label_problem(key, value)) return problem;
  if (labels_size(profile) > kLabelsRoom)
    return fmt::format("the labels are longer than {} bytes together", kLabelsRoom);
  return std::nullopt;
}

std::string_view state_name(MemberState state) {
  switch (state) {
    case MemberState::alive:
      return "alive";
    case MemberState::suspect:
      return "suspect";
    case MemberState::dead:
      return "dead";
    case MemberState::left:
      return "left";
  }
  return "unknown";
}

std::string_view reason_name(LossReason reason) {
  switch (reason) {
    case LossReason::none:
      return "none";
    case LossReason::left:
      return "left";
    case LossReason::refused:
      return "refused";
    case LossReason::silent:
      return "silent";
    case LossReason::restarted:
      return "restarted";
  }
  return "unknown";
}

}  // namespace sluice::cluster
