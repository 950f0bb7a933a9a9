#pragma once
// What a node serves: the services behind the one dispatch table, the parts of flows that they run, and the audit log in
// front of them.
// Threading: belongs to the control loop.
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "link/data_loops.h"
#include "node/cluster_service.h"
#include "node/flow_service.h"
#include "node/node_core.h"
#include "node/node_spawners.h"
#include "node/trust_service.h"
#include "rpc/dispatch.h"

namespace sluice::node {

class NodeServices final {
 public:
  struct Options {
    std::string data_directory;
    std::function<const net::TlsContext*()> tls;
    ClusterService::OnLeave on_leave;
  };
  /// Everything given by reference outlives the services. Errors: a sentence; something in the data directory can't be made.
  static std::expected<std::unique_ptr<NodeServices>, std::string> open(NodeCore core, NodeSpawners& spawners,
                                                                        NodeTrust& trust, link::DataLoops& loops,
                                                                        Options options);
  ~NodeServices();

  const rpc::DispatchTable& table() const;
  FlowService& flows();
  ClusterService& cluster();
  TrustService& trust();

  /// Takes no new work, and returns when what runs has ended. `grace`: it is told to end, and killed after it; none: it
  /// ends by itself.
  net::Awaitable<void> drain(std::optional<Duration> grace);
  /// Ends what runs, and returns when it has ended. With `keep_background`, what can go on without a daemon does.
  net::Awaitable<void> end_work(bool keep_background);
  /// When no connection is left.
  void close();

 private:
  struct Impl;
  explicit NodeServices(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
