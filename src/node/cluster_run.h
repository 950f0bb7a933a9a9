#pragma once
// `sluice run` over a cluster, from the client's side: asks a node to orchestrate the flow, runs the parts that are placed
// on the client, moves its stdin and stdout, and passes its signals on.
//
// The client is lost for the flow when its connection closes; stopping it (Ctrl-Z) holds the flow up and ends nothing.
// Threading: one loop, and the data loops of the links.
#include <expected>
#include <vector>

#include "exec/entry_state.h"
#include "exec/spawner_client.h"
#include "link/link_claim.h"
#include "net/async.h"
#include "net/connection.h"
#include "node/cluster_request.h"
#include "rpc/channel.h"

namespace sluice::node {

/// A client's way to its node: calls, and more connections to it for links.
class NodeAccess {
 public:
  virtual ~NodeAccess() = default;
  virtual rpc::Channel& channel() = 0;
  virtual net::Awaitable<std::expected<net::Connection::Parts, net::NetError>> dial_link(link::LinkClaim claim,
                                                                                         TimePoint deadline) = 0;
};

/// `spawners`: as many as count_client_parts says. They were forked before this process had a second thread.
net::Awaitable<RunResult> run_on_cluster(NodeAccess& access, ClusterRunRequest request,
                                         std::vector<exec::SpawnerClient> spawners, const exec::EntryState& entry);

}  // namespace sluice::node
