#pragma once
// Pipelines that come in by HTTP: the node is their client too, with the request's body as stdin and the answer's as stdout.
// Stages `@here` run on this node.
// Threading: belongs to the control loop.
#include <memory>
#include <string>

#include "api/run_door.h"
#include "link/data_loops.h"
#include "node/flow_service.h"

namespace sluice::node {

class HttpFlows final : public api::RunDoor {
 public:
  /// `socket`: the node's own, over which the links of the bodies go.
  HttpFlows(NodeCore core, FlowService& flows, link::DataLoops& loops, std::string socket);
  ~HttpFlows() override;

  net::Awaitable<std::expected<std::unique_ptr<api::RunningFlow>, rpc::Status>> start(api::RunText text,
                                                                                      rpc::Caller caller) override;

 private:
  NodeCore core_;
  FlowService& flows_;
  link::DataLoops& loops_;
  std::string socket_;
};

}  // namespace sluice::node
