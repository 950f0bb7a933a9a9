#include "node/node_addresses.h"

#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>

#include "base/unique_fd.h"
#include "cluster/discovery_message.h"

namespace sluice::node {
namespace {

using Refusal = std::unexpected<std::string>;
using InterfaceList = std::unique_ptr<ifaddrs, void (*)(ifaddrs*)>;

/// Null: errno says why.
InterfaceList list_interfaces() {
  ifaddrs* list = nullptr;
  return {::getifaddrs(&list) == 0 ? list : nullptr, ::freeifaddrs};
}

std::optional<std::string> ipv4_address(const ifaddrs& interface) {
  if (interface.ifa_addr == nullptr || interface.ifa_addr->sa_family != AF_INET) return std::nullopt;
  char host[NI_MAXHOST];
  if (::getnameinfo(interface.ifa_addr, sizeof(sockaddr_in), host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0)
    return std::nullopt;
  return host;
}

std::expected<std::string, std::string> address_of_interface(const std::string& name) {
  InterfaceList list = list_interfaces();
  if (!list) return Refusal(fmt::format("cannot list the interfaces: {}", std::strerror(errno)));
  bool found = false;
  for (const ifaddrs* each = list.get(); each != nullptr; each = each->ifa_next) {
    if (name != each->ifa_name) continue;
    found = true;
    if (auto address = ipv4_address(*each)) return *address;
  }
  return Refusal(found ? fmt::format("the interface {} has no IPv4 address; give the address with --listen", name)
                       : fmt::format("there is no interface {}; `ip link` lists them", name));
}

/// Of the first interface that is up and leads to other hosts.
std::optional<std::string> first_address() {
  InterfaceList list = list_interfaces();
  for (const ifaddrs* each = list.get(); each != nullptr; each = each->ifa_next) {
    bool usable = (each->ifa_flags & IFF_LOOPBACK) == 0 && (each->ifa_flags & IFF_UP) != 0;
    if (!usable) continue;
    if (auto address = ipv4_address(*each)) return address;
  }
  return std::nullopt;
}

std::expected<net::Endpoint, std::string> read_listen(const StartOptions& options) {
  auto at = net::parse_host_port(options.listen.empty() ? "127.0.0.1" : options.listen);
  if (!at) return Refusal(fmt::format("--listen: {}", at.error()));
  if (!options.interface.empty()) {
    auto address = address_of_interface(options.interface);
    if (!address) return Refusal(address.error());
    if (options.listen.empty() || at->host.empty()) at->host = *address;
  }
  net::Endpoint listen{.address = at->host.empty() ? "0.0.0.0" : at->host, .port = at->port};
  bool open_to_others = !net::is_loopback(listen.address);
  if (open_to_others && options.key.empty() && options.cert.empty())
    return Refusal(
        fmt::format("listening on {} lets other hosts in, which needs a key: `sluice init` makes one, or name "
                    "it with --key or --cert",
                    listen.address));
  if (open_to_others && options.insecure_loopback)
    return Refusal("--insecure-loopback is for benchmarks on loopback only; leave it out, or listen on 127.0.0.1");
  return listen;
}

std::expected<std::optional<net::Endpoint>, std::string> read_group(const StartOptions& options) {
  if (options.discover.empty()) return std::nullopt;
  auto group = cluster::parse_discovery_group(options.discover);
  if (!group) return Refusal(fmt::format("--discover: {}", group.error()));
  if (options.key.empty() && options.cert.empty())
    return Refusal(
        fmt::format("--discover {} finds nodes that have the same cluster key, and this one has none: `sluice init` "
                    "makes one, or name it with --key or --cert",
                    options.discover));
  return *group;
}

std::expected<std::vector<net::HostPort>, std::string> read_joins(const StartOptions& options) {
  std::vector<net::HostPort> joins;
  for (const std::string& join : options.joins) {
    auto url = net::parse_node_url(join);
    if (!url) return Refusal(fmt::format("--join: {}", url.error()));
    joins.push_back(url->at);
  }
  return joins;
}

}  // namespace

std::expected<NodeAddresses, std::string> read_addresses(const StartOptions& options) {
  auto listen = read_listen(options);
  if (!listen) return Refusal(listen.error());
  auto group = read_group(options);
  if (!group) return Refusal(group.error());
  auto joins = read_joins(options);
  if (!joins) return Refusal(joins.error());
  return NodeAddresses{.listen = *listen, .joins = std::move(*joins), .group = *group};
}

std::expected<net::Endpoint, std::string> advertised_endpoint(const StartOptions& options, const net::Endpoint& bound) {
  if (!options.advertise.empty()) {
    auto at = net::parse_host_port(options.advertise);
    if (!at) return Refusal(fmt::format("--advertise: {}", at.error()));
    bool names_port = options.advertise.find(std::to_string(at->port)) != std::string::npos;
    return net::Endpoint{.address = at->host, .port = names_port ? at->port : bound.port};
  }
  if (bound.address != "0.0.0.0" && bound.address != "::") return bound;
  auto address = first_address();
  if (!address) return Refusal("no interface has an address that other hosts could reach; name one with --advertise");
  return net::Endpoint{.address = *address, .port = bound.port};
}

bool udp_port_is_free(const net::Endpoint& endpoint) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_DGRAM;
  if (::getaddrinfo(endpoint.address.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found) != 0) return false;
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  UniqueFd socket(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return socket && ::bind(socket.get(), found->ai_addr, found->ai_addrlen) == 0;
}

}  // namespace sluice::node
