#include "node/node_reach.h"

#include <fmt/format.h>

#include <utility>

#include "cluster/credential_file.h"
#include "node/link_dialer.h"
#include "node/node_trust.h"

namespace sluice::node {

using net::Awaitable;
using net::NetErrorKind;
using Kind = ReachFailure::Kind;
using Refusal = std::unexpected<ReachFailure>;

std::expected<NodePlace, ReachFailure> parse_node_place(const std::string& origin, const std::string& node) {
  NodePlace place{.origin = origin};
  if (node.find("://") == std::string::npos && node.find('/') != std::string::npos) {
    place.socket = node;
    return place;
  }
  auto url = net::parse_node_url(node);
  if (!url) return Refusal(ReachFailure{Kind::usage, fmt::format("{}: {}", origin, url.error())});
  place.at = url->at;
  return place;
}

std::string describe(const NodePlace& place) { return place.socket.empty() ? net::to_text(place.at) : place.socket; }

std::expected<net::Credentials, ReachFailure> read_certificate(const std::string& file) {
  auto credentials = cluster::read_credential_file(file);
  if (!credentials) return Refusal(ReachFailure{Kind::refused_access, credentials.error().message});
  std::string expired = cluster::expiry_problem(file, credentials->fields, wall_time_now());
  if (!expired.empty()) return Refusal(ReachFailure{Kind::refused_access, std::move(expired)});
  return credentials->tls;
}

std::expected<std::unique_ptr<net::TlsContext>, ReachFailure> make_tls(const net::Credentials& credentials) {
  auto context = net::TlsContext::make(credentials);
  if (!context) return Refusal(ReachFailure{Kind::refused_access, context.error().message});
  return std::make_unique<net::TlsContext>(std::move(*context));
}

Awaitable<std::expected<std::unique_ptr<rpc::Channel>, net::NetError>> open_channel(NodePlace place,
                                                                                    const net::TlsContext* tls,
                                                                                    std::optional<NodeId> expected,
                                                                                    TimePoint deadline) {
  std::expected<std::unique_ptr<net::Connection>, net::NetError> connection = std::unexpected(net::NetError{});
  if (place.socket.empty()) {
    net::DialOptions dial{.deadline = deadline, .tls = tls, .expected = expected};
    connection = co_await net::dial(place.at, std::move(dial));
  } else {
    connection = co_await net::dial_local(place.socket, deadline);
  }
  if (!connection) co_return std::unexpected(connection.error());
  co_return co_await rpc::Channel::open(std::move(*connection), deadline);
}

ReachFailure failure_to_reach(const NodePlace& place, const net::NetError& error, std::chrono::seconds patience) {
  std::string whom = fmt::format("cannot reach the node at {} ({})", describe(place), place.origin);
  switch (error.kind) {
    case NetErrorKind::refused: {
      bool by_context = place.origin.starts_with("the context ");
      return {Kind::no_node, fmt::format("{}: refused: {}; is it running?{}", whom, error.message,
                                         by_context ? " `sluice context use -` leaves this context" : "")};
    }
    case NetErrorKind::unreachable:
      return {Kind::no_node, fmt::format("{}: unreachable: {}", whom, error.message)};
    case NetErrorKind::timed_out:
      return {Kind::timed_out, fmt::format("{}: timed out: no answer within {} s", whom, patience.count())};
    case NetErrorKind::wrong_key:
      return {Kind::refused_access, fmt::format("{}: wrong key: {}", whom, error.message)};
    case NetErrorKind::revoked:
    case NetErrorKind::wrong_role:
    case NetErrorKind::wrong_node:
      return {Kind::refused_access, fmt::format("{}: {}", whom, error.message)};
    case NetErrorKind::wrong_version:
      return {Kind::wrong_version, fmt::format("{}: wrong version: {}", whom, error.message)};
    default:
      return {Kind::no_node, fmt::format("{}: {}", whom, error.message)};
  }
}

Awaitable<std::expected<net::Connection::Parts, net::NetError>> ReachedNode::dial_link(link::LinkClaim claim,
                                                                                       TimePoint deadline) {
  LinkAddress to{.at = place_.at, .node = std::nullopt, .socket = place_.socket};
  co_return co_await node::dial_link(std::move(to), claim, tls_.get(), deadline);
}

}  // namespace sluice::node
