#pragma once
// One flow over several hosts, from the node that was asked to run it: drives the machine of flow/distributed_run.h with what
// the hosts of its parts report, and tells them what the machine wants. Where the stages run is decided in flow_layout.h, how
// the links between the parts are made in flow_links.h.
//
// It never carries data of the flow, but for a link between a client and a node that can't reach each other, which this
// node relays.
// Threading: belongs to the control loop. One coroutine, `run`, owns the machine; everybody else puts events in its mailbox.
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/log.h"
#include "net/async.h"
#include "node/flow_surroundings.h"
#include "rpc/status.h"

namespace sluice::v1 {
class Flow;
class FlowCounters;
class FlowMemory;
class RoleOffer;
class RunInput;
class RunStart;
class ScaleStageResponse;
}  // namespace sluice::v1

namespace sluice::node {

class FlowOrchestrator final {
 public:
  FlowOrchestrator(net::asio::any_io_executor executor, FlowSurroundings& surroundings, FlowClient* client, FlowId id,
                   const v1::RunStart& start, Logger& log);
  /// Of a flow in the background that runs already: an earlier daemon of this node has started it. `deadline`: its timeout.
  FlowOrchestrator(net::asio::any_io_executor executor, FlowSurroundings& surroundings, FlowId id,
                   const v1::FlowMemory& memory, std::optional<TimePoint> deadline, Logger& log);
  ~FlowOrchestrator();
  FlowOrchestrator(const FlowOrchestrator&) = delete;
  FlowOrchestrator& operator=(const FlowOrchestrator&) = delete;

  /// The client is a program that speaks HTTP: it has a stdin and a stdout, and stages `@here` run on this node.
  void place_here_on_node();
  /// Plans, runs, and returns when the flow has ended and the client has been told everything.
  net::Awaitable<void> run();

  // Inputs, at any time while `run` is under way.
  void on_input(v1::RunInput input);
  void on_client_lost();
  void on_node_lost(const NodeId& node, const std::string& reason);
  /// Workers that were started by hand wait on `node`, for whatever role.
  void on_offered(const NodeId& node, const std::vector<v1::RoleOffer>& offers);
  void stop(std::optional<std::uint64_t> grace_ms, const std::string& reason);

  /// Another number of workers for a stage: its number from 1, or its name. Returns when its host has answered. Errors:
  /// no such stage, or it has to keep those that it has.
  net::Awaitable<std::expected<v1::ScaleStageResponse, rpc::Status>> scale(std::string stage, std::uint32_t workers);

  /// A flow in the background that goes on when this daemon is gone: all of it runs on this node, or nothing.
  bool survives_daemon() const;
  /// Leaves it to its spawner, or to the nodes of its parts; `run` returns.
  void let_go();
  /// Returns when the programs run, or will not.
  net::Awaitable<void> started_or_ended();
  /// Programs run, or have run.
  bool has_started() const;

  /// What it is now, for `ps`.
  void describe(v1::Flow& flow) const;
  /// Asks the hosts of its parts what they have moved, and waits for them a second at most. The flow lives until this
  /// returns.
  net::Awaitable<void> count(v1::FlowCounters& counters);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
