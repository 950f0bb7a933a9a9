#include "cluster/multicast_socket.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace sluice::cluster {
namespace {

using Refusal = std::unexpected<std::string>;

// A client asks on each; a host of containers may have hundreds, which nobody listens on.
constexpr std::size_t kInterfacesMax = 64;

sockaddr_in to_kernel(const net::Endpoint& endpoint) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(endpoint.port);
  ::inet_pton(AF_INET, endpoint.address.c_str(), &address.sin_addr);
  return address;
}

std::string address_text(const sockaddr* address) {
  sockaddr_in v4;
  std::memcpy(&v4, address, sizeof v4);
  char text[INET_ADDRSTRLEN] = "";
  ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  return text;
}

// All that are up, and whether each can do multicast. Loopback can, whatever its flags say.
struct ListedInterface {
  MulticastInterface interface;
  std::vector<std::string> addresses;
  bool able = false;
};

std::expected<std::vector<ListedInterface>, std::string> list_interfaces() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return Refusal(fmt::format("cannot list the interfaces: {}", std::strerror(errno)));
  std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
  std::vector<ListedInterface> listed;
  for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || each->ifa_addr->sa_family != AF_INET || (each->ifa_flags & IFF_UP) == 0) continue;
    std::string address = address_text(each->ifa_addr);
    auto known =
        std::ranges::find_if(listed, [&](const ListedInterface& one) { return one.interface.name == each->ifa_name; });
    if (known == listed.end()) {
      bool loopback = (each->ifa_flags & IFF_LOOPBACK) != 0;
      MulticastInterface interface {
        .name = each->ifa_name, .index = ::if_nametoindex(each->ifa_name), .address = address, .loopback = loopback
      };
      listed.push_back({std::move(interface), {}, loopback || (each->ifa_flags & IFF_MULTICAST) != 0});
      known = listed.end() - 1;
    }
    known->addresses.push_back(std::move(address));
  }
  return listed;
}

std::expected<void, int> set(int socket, int level, int option, const void* value, socklen_t size) {
  if (::setsockopt(socket, level, option, value, size) != 0) return std::unexpected(errno);
  return {};
}

std::expected<void, int> choose_interface(int socket, const MulticastInterface& interface) {
  ip_mreqn request{};
  request.imr_ifindex = static_cast<int>(interface.index);
  ::inet_pton(AF_INET, interface.address.c_str(), &request.imr_address);
  return set(socket, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request);
}

std::expected<void, int> prepare(int socket, const net::Endpoint& group, const MulticastInterface& interface) {
  constexpr int kOn = 1, kOff = 0;
  if (auto done = set(socket, SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof kOn); !done) return done;
  // Bound to the group: nothing that was sent to this host alone, or to another group, is heard.
  sockaddr_in address = to_kernel(group);
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return std::unexpected(errno);
  ip_mreqn membership{};
  membership.imr_multiaddr = address.sin_addr;
  membership.imr_ifindex = static_cast<int>(interface.index);
  if (auto done = set(socket, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership); !done) return done;
  // Otherwise what comes in on another interface, where another program has joined the group, is heard too.
  if (auto done = set(socket, IPPROTO_IP, IP_MULTICAST_ALL, &kOff, sizeof kOff); !done) return done;
  if (auto done = set(socket, IPPROTO_IP, IP_MULTICAST_LOOP, &kOn, sizeof kOn); !done) return done;
  return choose_interface(socket, interface);
}

std::string hint_for(int error) {
  if (error == EADDRINUSE) return "; choose another port than that of --listen, and that no other program uses";
  if (error == EACCES) return "; ports below 1024 are for root, choose a higher one";
  return "";
}

}  // namespace

std::expected<std::vector<MulticastInterface>, std::string> multicast_interfaces() {
  auto listed = list_interfaces();
  if (!listed) return Refusal(listed.error());
  std::vector<MulticastInterface> interfaces;
  for (ListedInterface& one : *listed)
    if (one.able && interfaces.size() < kInterfacesMax) interfaces.push_back(std::move(one.interface));
  return interfaces;
}

std::expected<std::vector<MulticastInterface>, std::string> interfaces_for(const DiscoveryPlace& place) {
  auto listed = list_interfaces();
  if (!listed) return Refusal(listed.error());
  bool everywhere = place.interface.empty() && (place.listen == "0.0.0.0" || place.listen == "::");
  std::vector<MulticastInterface> interfaces;
  for (ListedInterface& one : *listed) {
    bool named = place.interface.empty() ? std::ranges::count(one.addresses, place.listen) > 0
                                         : one.interface.name == place.interface;
    if (named && !one.able)
      return Refusal(
          fmt::format("the interface {} can't do multicast; choose another with --interface, or join a node "
                      "by its address with --join",
                      one.interface.name));
    bool wanted = named || (everywhere && one.able && !one.interface.loopback);
    if (wanted && interfaces.size() < kInterfacesMax) interfaces.push_back(std::move(one.interface));
  }
  if (!interfaces.empty()) return interfaces;
  if (!place.interface.empty())
    return Refusal(fmt::format("the interface {} is not up, or has no IPv4 address", place.interface));
  return Refusal(
      fmt::format("no interface of this host can do multicast for {}; name one with --interface, or join a "
                  "node by its address with --join",
                  place.listen));
}

std::expected<UniqueFd, std::string> open_group_socket(const net::Endpoint& group,
                                                       const MulticastInterface& interface) {
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return Refusal(fmt::format("cannot open a socket for {}: {}", to_text(group), std::strerror(errno)));
  if (auto prepared = prepare(socket.get(), group, interface); !prepared)
    return Refusal(fmt::format("cannot listen to the group {} on {}: {}{}", to_text(group), interface.name,
                               std::strerror(prepared.error()), hint_for(prepared.error())));
  return socket;
}

std::expected<UniqueFd, std::string> open_asking_socket() {
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in anywhere{};
  anywhere.sin_family = AF_INET;
  bool bound = socket && ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&anywhere), sizeof anywhere) == 0;
  if (!bound) return Refusal(fmt::format("cannot open a socket to ask with: {}", std::strerror(errno)));
  return socket;
}

bool send_to_group(int socket, const net::Endpoint& group, const MulticastInterface& interface,
                   std::string_view datagram) {
  if (!choose_interface(socket, interface)) return false;
  sockaddr_in address = to_kernel(group);
  ssize_t sent = ::sendto(socket, datagram.data(), datagram.size(), MSG_NOSIGNAL,
                          reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return sent == static_cast<ssize_t>(datagram.size());
}

}  // namespace sluice::cluster
