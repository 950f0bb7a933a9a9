#pragma once
// The parts that this node runs for orchestrators on other nodes: the server's side of Workers/Host.
//
// A part whose orchestrator is gone goes on, if it may (served_part.h). While it does, it is listed here, it can be told to
// stop here, and its orchestrator's node is asked now and then whether the flow still runs, if that answers.
// Threading: belongs to the control loop.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"
#include "net/async.h"
#include "node/node_core.h"
#include "node/part_surroundings.h"
#include "rpc/call.h"

namespace sluice::v1 {
class Flow;
}

namespace sluice::node {

class ServedParts final {
 public:
  ServedParts(NodeCore core, PartSurroundings& surroundings);
  ~ServedParts();

  /// Workers/Host.
  net::Awaitable<rpc::Status> serve(rpc::ServerCall& call);
  /// Processes that may run at the same time.
  std::size_t programs() const;

  /// Flows of which parts go on here without their orchestrator, as far as these know.
  std::vector<v1::Flow> alone() const;
  /// SIGTERM to those parts of the flow, and after the grace SIGKILL. Returns when they have ended.
  net::Awaitable<void> stop_alone(std::string flow_id, Duration grace);
  /// The flow is removed: nobody will ask for parts that have ended without an orchestrator.
  void forget_alone(const std::string& flow_id);

  /// As of WorkerService.
  net::Awaitable<void> drain(std::optional<Duration> grace);
  net::Awaitable<void> close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
