#pragma once
// Sockets for IPv4 multicast: the interfaces of this host that can do it, a socket that hears a group on one of them, and one
// that asks on all. Nothing relies on the routing table: each datagram is sent on an interface that is named.
// Datagrams stay on the network on which they were sent (their TTL is 1), and come back to the programs of this host.
// Threading: none of its own; nothing here waits.
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "net/address.h"

namespace sluice::cluster {

struct MulticastInterface {
  std::string name;
  unsigned index = 0;
  std::string address;  // its first IPv4 address
  bool loopback = false;
};

/// Those that are up and have an IPv4 address, loopback included. Errors: a sentence.
std::expected<std::vector<MulticastInterface>, std::string> multicast_interfaces();

/// Where a node finds others: on the interface of that name, or else on the one with the address that it listens on; if that is
/// every address, on every interface but loopback, where no other host is. Errors: a sentence; there is none.
struct DiscoveryPlace {
  std::string interface;  // may be empty
  std::string listen;     // an IP address
};
std::expected<std::vector<MulticastInterface>, std::string> interfaces_for(const DiscoveryPlace& place);

/// Hears `group` on `interface`, beside other programs of this host that do, and sends there. Errors: a sentence.
std::expected<UniqueFd, std::string> open_group_socket(const net::Endpoint& group, const MulticastInterface& interface);
/// On a port that the kernel chooses. Errors: a sentence.
std::expected<UniqueFd, std::string> open_asking_socket();
/// Sends on that interface. False: it can't be sent there.
bool send_to_group(int socket, const net::Endpoint& group, const MulticastInterface& interface,
                   std::string_view datagram);

}  // namespace sluice::cluster
