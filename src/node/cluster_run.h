#pragma once
// `sluice run` over a cluster, from the client's side: asks a node to orchestrate the flow, runs the parts that are placed
// on the client, moves its stdin and stdout, and passes its signals on.
//
// The client is lost for the flow when its connection closes; stopping it (Ctrl-Z) holds the flow up and ends nothing.
// Threading: one loop, and the data loops of the links.
#include <cstddef>
#include <expected>
#include <map>
#include <string>
#include <vector>

#include "exec/entry_state.h"
#include "exec/environment.h"
#include "exec/spawner_client.h"
#include "flow/graph.h"
#include "link/link_claim.h"
#include "net/async.h"
#include "net/connection.h"
#include "node/embedded_run.h"
#include "node/outgoing_files.h"
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

enum class OutputMarks { automatic, always, never };

struct ClusterRunRequest {
  std::string text;
  flow::FlowGraph graph;
  RunRequest run;                                        // `plan` is not used
  std::map<std::string, std::string> stage_environment;  // --env, for stages on nodes
  std::string shell;
  bool inner_pipefail = true;
  bool dry_run = false;
  bool json = false;
  bool background = false;
  std::size_t keep_bytes_max = std::size_t{10} << 20;
  OutputMarks marks = OutputMarks::automatic;
  OutgoingFiles files;
};

/// How many parts of `graph` run on the client: each needs a spawner of its own.
std::size_t count_client_parts(const flow::FlowGraph& graph);
/// Whether some stage is placed by a word that only a cluster can answer.
bool needs_cluster(const flow::FlowGraph& graph);

/// `spawners`: as many as count_client_parts says. They were forked before this process had a second thread.
net::Awaitable<RunResult> run_on_cluster(NodeAccess& access, ClusterRunRequest request,
                                         std::vector<exec::SpawnerClient> spawners, const exec::EntryState& entry);

}  // namespace sluice::node
