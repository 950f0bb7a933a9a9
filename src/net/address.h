#pragma once
// Where a node can be reached: `HOST:PORT`, `[V6]:PORT`, and the URL `sluice://HOST:PORT/NODE`.
// Threading: pure functions.
#include <compare>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace sluice::net {

inline constexpr std::uint16_t kDefaultPort = 7117;

/// A host as the user wrote it (a name, or an IP address without brackets) and a port.
struct HostPort {
  std::string host;
  std::uint16_t port = kDefaultPort;
  auto operator<=>(const HostPort&) const = default;
};

/// An IP address and a port: what a datagram is sent to. IPv4 as four bytes, IPv6 as sixteen.
struct Endpoint {
  std::string address;  // textual, canonical: "10.0.0.5", "fe80::1"
  std::uint16_t port = 0;
  auto operator<=>(const Endpoint&) const = default;
};

struct NodeUrl {
  HostPort at;
  std::string node;  // name, may be empty
};

/// `HOST`, `HOST:PORT`, `:PORT` (host empty), `[V6]`, `[V6]:PORT`. Errors: a sentence that says what was expected.
std::expected<HostPort, std::string> parse_host_port(std::string_view text);
/// A node's URL, or a bare HOST:PORT. Errors: as above.
std::expected<NodeUrl, std::string> parse_node_url(std::string_view text);
std::string to_text(const HostPort& at);
std::string to_text(const Endpoint& at);
std::string to_url(const HostPort& at, std::string_view node);
bool is_loopback(std::string_view address);

}  // namespace sluice::net
