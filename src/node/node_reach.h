#pragma once
// How a client reaches one node: where it is, what it is shown there, and why that did not do, in a sentence.
// Threading: one loop; a certificate is read while it waits.
#include <chrono>
#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "net/credentials.h"
#include "net/error.h"
#include "net/tls.h"
#include "node/node_access.h"

namespace sluice::node {

struct NodePlace {
  std::string origin;  // who has named it, for messages: "--node", "SLUICE_NODE"
  std::string socket;  // not empty: a Unix socket
  net::HostPort at;
};

struct ReachFailure {
  enum class Kind { failed, usage, refused_access, no_node, timed_out, wrong_version };
  Kind kind = Kind::failed;
  std::string message;
};

/// A URL, HOST:PORT, or the path of a socket. Errors: usage.
std::expected<NodePlace, ReachFailure> parse_node_place(const std::string& origin, const std::string& node);
std::string describe(const NodePlace& place);

/// What a certificate file (`sluice cert issue`) has for a handshake. Errors: refused_access; it can't be read, or is
/// over.
std::expected<net::Credentials, ReachFailure> read_certificate(const std::string& file);
/// Errors: refused_access; they do not go together.
std::expected<std::unique_ptr<net::TlsContext>, ReachFailure> make_tls(const net::Credentials& credentials);

/// `tls`: not for a socket; it stays the caller's. `expected`: which node it must be.
net::Awaitable<std::expected<std::unique_ptr<rpc::Channel>, net::NetError>> open_channel(NodePlace place,
                                                                                         const net::TlsContext* tls,
                                                                                         std::optional<NodeId> expected,
                                                                                         TimePoint deadline);
/// `patience`: how long it was tried.
ReachFailure failure_to_reach(const NodePlace& place, const net::NetError& error, std::chrono::seconds patience);

/// A node that was reached, with what it was shown.
class ReachedNode final : public NodeAccess {
 public:
  ReachedNode(NodePlace place, std::unique_ptr<net::TlsContext> tls, std::unique_ptr<rpc::Channel> channel)
      : place_(std::move(place)), tls_(std::move(tls)), channel_(std::move(channel)) {}

  const NodePlace& place() const { return place_; }
  rpc::Channel& channel() override { return *channel_; }
  net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial_link(link::LinkClaim claim,
                                                                                 TimePoint deadline) override;

 private:
  NodePlace place_;
  std::unique_ptr<net::TlsContext> tls_;  // none on a Unix socket
  std::unique_ptr<rpc::Channel> channel_;
};

}  // namespace sluice::node
