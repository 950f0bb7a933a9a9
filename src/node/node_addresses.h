#pragma once
// Where a node listens, under which address others reach it, and where it looks for them: what `sluice start` was told,
// read and held against the rules (docs/security.md: beyond loopback only with a key, and never without encryption).
// Threading: pure but for a look at this host's interfaces.
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "net/address.h"
#include "node/start_options.h"

namespace sluice::node {

struct NodeAddresses {
  net::Endpoint listen;
  std::vector<net::HostPort> joins;
  std::optional<net::Endpoint> group;  // of --discover
};

/// Errors: a sentence that names the option.
std::expected<NodeAddresses, std::string> read_addresses(const StartOptions& options);

/// What the others are told, of a node that listens at `bound`. Errors: a sentence; there is no such address.
std::expected<net::Endpoint, std::string> advertised_endpoint(const StartOptions& options, const net::Endpoint& bound);

/// Whether a UDP socket could be bound there now.
bool udp_port_is_free(const net::Endpoint& endpoint);

}  // namespace sluice::node
