#include "net/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace sluice::net {
namespace {

constexpr std::string_view kScheme = "sluice://";
constexpr std::size_t kHostMax = 253;  // of a name in the DNS (RFC 1035 section 2.3.4), and longer than any address

std::unexpected<std::string> not_an_address(std::string_view text, std::string_view why) {
  constexpr std::size_t kShown = 80;
  return std::unexpected(fmt::format("'{}' is no address: {}; expected HOST:PORT, as in 10.0.0.5:{} or [fe80::1]:{}",
                                     text.substr(0, kShown), why, kDefaultPort, kDefaultPort));
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return port;
}

// Names of hosts as people have them, underscores included, and addresses. Nothing that could end up in a URL as more.
bool is_host(std::string_view host) {
  return host.size() <= kHostMax && std::ranges::all_of(host, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                  c == '_';
         });
}

bool is_v6(std::string_view host) {
  std::size_t percent = host.find('%');  // the interface of a link-local address: fe80::1%eth0
  if (percent != host.npos && (percent + 1 == host.size() || !is_host(host.substr(percent + 1)))) return false;
  in6_addr address;
  return ::inet_pton(AF_INET6, std::string(host.substr(0, percent)).c_str(), &address) == 1;
}

struct Split {
  std::string_view host;
  std::optional<std::string_view> port;
};

std::expected<Split, std::string> split(std::string_view text) {
  if (!text.starts_with('[')) {
    std::size_t colon = text.find(':');
    if (colon == text.npos) return Split{text, std::nullopt};
    if (text.find(':', colon + 1) != text.npos)
      return not_an_address(text, "an IPv6 address stands in brackets before its port");
    return Split{text.substr(0, colon), text.substr(colon + 1)};
  }
  std::size_t end = text.find(']');
  if (end == text.npos) return not_an_address(text, "the bracket isn't closed");
  std::string_view rest = text.substr(end + 1);
  if (!rest.empty() && !rest.starts_with(':')) return not_an_address(text, "a port follows the bracket after a colon");
  if (!is_v6(text.substr(1, end - 1))) return not_an_address(text, "in brackets stands an IPv6 address");
  return Split{text.substr(1, end - 1), rest.empty() ? std::nullopt : std::optional(rest.substr(1))};
}

}  // namespace

std::expected<HostPort, std::string> parse_host_port(std::string_view text) {
  if (text.empty()) return not_an_address(text, "it is empty");
  auto parts = split(text);
  if (!parts) return std::unexpected(parts.error());
  if (!text.starts_with('[') && !is_host(parts->host)) return not_an_address(text, "no host has such a name");
  HostPort at{.host = std::string(parts->host)};
  if (!parts->port) return at;
  auto port = parse_port(*parts->port);
  if (!port) return not_an_address(text, "a port is a number from 0 to 65535");
  at.port = *port;
  return at;
}

std::expected<NodeUrl, std::string> parse_node_url(std::string_view text) {
  if (!text.starts_with(kScheme)) {
    if (text.find("://") != text.npos)
      return std::unexpected(fmt::format("'{}' is no URL of a node; expected {}HOST:PORT/NODE", text, kScheme));
    auto at = parse_host_port(text);
    if (!at) return std::unexpected(at.error());
    return NodeUrl{.at = *std::move(at)};
  }
  std::string_view rest = text.substr(kScheme.size());
  std::size_t slash = rest.find('/');
  auto at = parse_host_port(rest.substr(0, slash));
  if (!at) return std::unexpected(at.error());
  std::string_view node = slash == rest.npos ? std::string_view{} : rest.substr(slash + 1);
  if (!is_host(node))
    return std::unexpected(fmt::format("'{}' names no node; expected {}HOST:PORT/NODE", text, kScheme));
  return NodeUrl{.at = *std::move(at), .node = std::string(node)};
}

std::string to_text(const HostPort& at) {
  bool v6 = at.host.find(':') != at.host.npos;
  return v6 ? fmt::format("[{}]:{}", at.host, at.port) : fmt::format("{}:{}", at.host, at.port);
}

std::string to_text(const Endpoint& at) { return to_text(HostPort{.host = at.address, .port = at.port}); }

std::string to_url(const HostPort& at, std::string_view node) {
  return fmt::format("{}{}/{}", kScheme, to_text(at), node);
}

bool is_loopback(std::string_view address) {
  std::string text(address);
  in_addr v4;
  if (::inet_pton(AF_INET, text.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
  in6_addr v6;
  if (::inet_pton(AF_INET6, text.c_str(), &v6) != 1) return false;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return v6.s6_addr[12] == IN_LOOPBACKNET;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace sluice::net
