#pragma once
// What `sluice run` asks of a node: the flow, where its stages are wanted, and how it is to run.
// Threading: values and pure functions.
#include <cstddef>
#include <map>
#include <string>

#include "flow/graph.h"
#include "node/embedded_run.h"
#include "node/outgoing_files.h"

namespace sluice::v1 {
class RunStart;
}

namespace sluice::node {

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
  bool exact = false;
  bool losses_allowed = false;  // --on-loss=continue
  OutgoingFiles files;
};

/// How many parts of `graph` may run on the client: each needs a spawner of its own. `files_here`: --dead-letter or
/// --joblog, which belong where the records of their stage are.
std::size_t count_client_parts(const flow::FlowGraph& graph, bool files_here);
/// Whether some stage is placed by a word that only a cluster can answer, or has workers to be spread over one that the
/// user has named.
bool needs_cluster(const flow::FlowGraph& graph, bool node_named);

/// Whether a standard stream was closed when `sluice` was started: /dev/null has its place then, and is nobody's wish.
bool stands_for_closed(int stream);

/// `shows_progress`: the hosts are to say how their stages do.
v1::RunStart to_message(const ClusterRunRequest& request, bool shows_progress);

}  // namespace sluice::node
