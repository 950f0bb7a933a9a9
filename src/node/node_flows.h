#pragma once
// The flows of one node: those that it orchestrates now, and those in the background that its data directory remembers. Shared
// by who runs flows (flow_service.h) and who is asked about them (flow_directory.h, flow_logs.h).
// Threading: belongs to the control loop.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "node/background_flows.h"
#include "node/condition.h"
#include "node/flow_orchestrator.h"
#include "node/left_flows.h"
#include "node/node_core.h"
#include "node/task_group.h"
#include "node/worker_service.h"

namespace sluice::v1 {
class Flow;
}

namespace sluice::node {

struct NodeFlows {
  NodeFlows(NodeCore node_core, WorkerService& worker_service, std::string data_directory);
  ~NodeFlows();

  NodeId self() const { return core.members.self(); }
  /// As they are now.
  std::vector<v1::Flow> list() const;

  NodeCore core;
  WorkerService& workers;
  BackgroundFlows kept;
  TaskGroup tasks;
  std::map<FlowId, std::shared_ptr<FlowOrchestrator>> orchestrated;
  Condition changed;  // one of them has ended, or the node is closing
  LeftFlows left;
  bool looks_at_left = false;  // now and then
  bool writes_ends = false;    // now and then, those that could not be written
  bool closing = false;
};

/// How long another node has to answer when it is asked about flows.
constexpr std::chrono::seconds kAskTime{2};
/// Between two looks at the files that a spawner writes.
constexpr std::chrono::milliseconds kLookAgain{100};

/// Writes how the flow ended; on a full disk as soon as there is room.
void save_end(const std::shared_ptr<NodeFlows>& node, const v1::Flow& flow);

/// Of a call that is passed on to another node: it is the caller's role that counts there.
rpc::CallOptions on_behalf(const rpc::CallInfo& info);

}  // namespace sluice::node
