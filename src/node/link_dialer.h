#pragma once
// Dials the other end of a link: connects, shakes hands, and proves whose end it is.
#include <expected>
#include <optional>
#include <string>

#include "link/link_claim.h"
#include "net/async.h"
#include "net/connection.h"

namespace sluice::node {

/// Where the other end waits: a node by its address, or the node at a Unix socket.
struct LinkAddress {
  net::HostPort at;
  std::optional<NodeId> node;  // who must answer
  std::string socket;          // not empty: this Unix socket
};

/// `tls` null: plain text. Errors: those of the connection, and refused if no such end waits there.
net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial_link(LinkAddress to, link::LinkClaim claim,
                                                                               const net::TlsContext* tls,
                                                                               TimePoint deadline);

}  // namespace sluice::node
