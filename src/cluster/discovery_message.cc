#include "cluster/discovery_message.h"

#include <arpa/inet.h>  // inet_pton: text and bytes of an address, no I/O
#include <fmt/format.h>

#include "base/require.h"
#include "base/wire.h"
#include "cluster/gossip_message.h"
#include "cluster/key_derivation.h"

namespace sluice::cluster {
namespace {

enum class Kind : std::uint8_t { query = 1, announcement };

constexpr std::string_view kSecretInfo = "sluice discovery 1";
constexpr std::string_view kExample = "239.17.17.17:7118";

Kind put_body(WireWriter& writer, const DiscoveryQuery& query) {
  REQUIRE(query.question != 0);
  writer.put(query.question);
  writer.put(query.attempt);
  return Kind::query;
}

Kind put_body(WireWriter& writer, const DiscoveryAnnouncement& announcement) {
  writer.put(announcement.question);
  writer.put_raw(encode_profile(announcement.profile));
  return Kind::announcement;
}

std::optional<DiscoveryMessage> get_query(WireReader& reader) {
  DiscoveryQuery query;
  query.question = reader.get<std::uint64_t>();
  query.attempt = reader.get<std::uint8_t>();
  if (reader.failed() || query.question == 0) return std::nullopt;
  return query;
}

std::optional<DiscoveryMessage> get_announcement(WireReader& reader) {
  DiscoveryAnnouncement announcement;
  announcement.question = reader.get<std::uint64_t>();
  if (reader.failed()) return std::nullopt;
  auto profile = decode_profile(reader.rest());
  if (!profile) return std::nullopt;
  announcement.profile = std::move(*profile);
  return announcement;
}

std::unexpected<std::string> no_group(std::string_view text, std::string_view why) {
  constexpr std::size_t kShown = 80;
  return std::unexpected(fmt::format("'{}' is no group to find nodes by: {}; expected GROUP:PORT, as in {}",
                                     text.substr(0, kShown), why, kExample));
}

}  // namespace

std::string encode_discovery(const DiscoveryMessage& message) {
  WireWriter body;
  Kind kind = std::visit([&](const auto& known) { return put_body(body, known); }, message);
  WireWriter writer;
  writer.put(static_cast<std::uint8_t>(kind));
  writer.put_text<std::uint16_t>(body.bytes());
  INVARIANT(writer.size() <= kGossipPayloadMax);
  return writer.take();
}

std::optional<DiscoveryMessage> decode_discovery(std::string_view payload) {
  if (payload.size() > kGossipPayloadMax) return std::nullopt;
  WireReader reader(payload);
  auto kind = static_cast<Kind>(reader.get<std::uint8_t>());
  WireReader body(reader.get_text<std::uint16_t>());
  if (reader.failed()) return std::nullopt;
  switch (kind) {
    case Kind::query:
      return get_query(body);
    case Kind::announcement:
      return get_announcement(body);
  }
  return std::nullopt;
}

std::vector<GossipSecret> discovery_secrets(const std::vector<GossipSecret>& gossip_secrets) {
  std::vector<GossipSecret> secrets;
  for (const GossipSecret& secret : gossip_secrets) secrets.push_back(derive<GossipSecret>(secret, kSecretInfo));
  return secrets;
}

std::expected<net::Endpoint, std::string> parse_discovery_group(std::string_view text) {
  auto at = net::parse_host_port(text);
  if (!at) return no_group(text, "it is no address");
  if (at->host.find(':') != std::string::npos) return no_group(text, "IPv6 groups are not supported");
  in_addr address;
  if (::inet_pton(AF_INET, at->host.c_str(), &address) != 1) return no_group(text, "a group is an IPv4 address");
  if ((ntohl(address.s_addr) >> 28) != 0xe)
    return no_group(text, "groups are the addresses from 224.0.0.0 to 239.255.255.255");
  if (text.find(':') == text.npos) return no_group(text, "the port is missing");
  if (at->port == 0) return no_group(text, "all must use the same port, so it can't be 0");
  return net::Endpoint{.address = at->host, .port = at->port};
}

}  // namespace sluice::cluster
