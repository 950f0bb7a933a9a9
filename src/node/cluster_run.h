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
#include "net/async.h"
#include "node/cluster_request.h"
#include "node/node_access.h"

namespace sluice::node {

/// `spawners`: as many as count_client_parts says. They were forked before this process had a second thread.
net::Awaitable<RunResult> run_on_cluster(NodeAccess& access, ClusterRunRequest request,
                                         std::vector<exec::SpawnerClient> spawners, const exec::EntryState& entry);

}  // namespace sluice::node
