#include "api/http_site.h"

#include <algorithm>
#include <charconv>

namespace sluice::api {
namespace {

constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;

struct Authority {
  std::string host;                   // in small letters, without brackets
  std::optional<std::uint16_t> port;  // none: that of the scheme
};

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

// `NAME`, `NAME:PORT`, `[V6]`, `[V6]:PORT` (RFC 9110 section 7.2).
std::optional<Authority> parse_authority(std::string_view text) {
  std::size_t host_begin = text.starts_with('[') ? 1 : 0;
  std::size_t host_end = host_begin ? text.find(']') : std::min(text.find(':'), text.size());
  if (host_end == text.npos || host_end == host_begin) return std::nullopt;
  Authority authority{in_small_letters(text.substr(host_begin, host_end - host_begin)), std::nullopt};
  std::string_view rest = text.substr(host_end + host_begin);
  if (rest.empty()) return authority;
  if (!rest.starts_with(':')) return std::nullopt;
  authority.port = parse_port(rest.substr(1));
  if (!authority.port) return std::nullopt;
  return authority;
}

bool is_allowed(std::string_view text, const Site& site) {
  auto authority = parse_authority(text);
  if (!authority || !std::ranges::count(site.hosts.names, authority->host)) return false;
  std::uint16_t scheme_port = site.encrypted ? kHttpsPort : kHttpPort;
  return site.is_unix_socket || authority->port.value_or(scheme_port) == site.hosts.port;
}

bool is_same_origin(std::string_view origin, const Site& site) {
  std::string_view scheme = site.encrypted ? "https://" : "http://";
  return origin.starts_with(scheme) && is_allowed(origin.substr(scheme.size()), site);
}

}  // namespace

std::optional<HttpRefusal> check_site(const RequestHead& head, const Site& site) {
  const std::string* host = head.find("host");
  if (host && !is_allowed(*host, site))
    return HttpRefusal{421, "this node does not answer to '" + *host +
                                "'; use the address that it printed, or 'localhost' on its Unix socket"};
  for (std::string_view origin : head.all("origin"))
    if (!is_same_origin(origin, site)) return HttpRefusal{403, "pages of other sites may not use this node"};
  for (std::string_view from : head.all("sec-fetch-site"))
    if (from != "same-origin" && from != "none") return HttpRefusal{403, "pages of other sites may not use this node"};
  return std::nullopt;
}

}  // namespace sluice::api
