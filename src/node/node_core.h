#pragma once
// What the services of a node share: who it is, whom it knows, and how it reaches them. Built by the daemon, which owns
// every part.
#include <functional>
#include <string>
#include <vector>

#include "base/log.h"
#include "cluster/member.h"
#include "net/async.h"
#include "node/link_registry.h"
#include "node/peer_channels.h"
#include "rpc/dispatch.h"

namespace sluice::v1 {
class Node;
}

namespace sluice::node {

/// The members as this node knows them.
class MemberView {
 public:
  virtual ~MemberView() = default;
  virtual NodeId self() const = 0;
  virtual std::vector<cluster::Member> members() const = 0;
};

struct NodeCore {
  net::asio::any_io_executor executor;
  Logger& log;
  MemberView& members;
  PeerChannels& peers;
  LinkRegistry& links;
};

/// A member by its name, its id, or a unique beginning of it (four digits at least). Errors: not_found, and for several
/// that it may mean invalid_argument with the candidates.
std::expected<cluster::Member, rpc::Status> find_member(const MemberView& members, const std::string& wanted);

void fill_node(const cluster::Member& member, const NodeId& self, v1::Node& node);

/// How a call ended that could not even be made.
rpc::Status status_of(const net::NetError& error, const std::string& whom);

}  // namespace sluice::node
