#pragma once
// One flow over several hosts, from the node that was asked to run it: places the stages, prepares the parts and the links
// between them, and drives the machine of flow/distributed_run.h with what the hosts report.
//
// It never carries data of the flow, but for a link between a client and a node that can't reach each other, which this
// node relays.
// Threading: belongs to the control loop. One coroutine, `run`, owns the machine; everybody else puts events in its mailbox.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/log.h"
#include "flow/placement.h"
#include "net/async.h"
#include "node/host_session.h"

namespace sluice::v1 {
class Flow;
class HostEvent;
class Prepare;
class RunInput;
class RunOutput;
class RunStart;
}  // namespace sluice::v1

namespace sluice::node {

/// What the hosts of a flow tell its orchestrator.
class HostListener {
 public:
  virtual ~HostListener() = default;
  virtual void on_event(std::size_t part, v1::HostEvent event) = 0;
  virtual void on_lost(std::size_t part, std::string reason) = 0;
  /// Returns when the listener has room for more error output.
  virtual net::Awaitable<void> room() = 0;
};

/// The client's end of a flow in the foreground; a flow in the background has none.
class FlowClient {
 public:
  virtual ~FlowClient() = default;
  virtual void send(v1::RunOutput output) = 0;
  /// Returns when little enough waits to be sent.
  virtual net::Awaitable<void> room() = 0;
};

/// What an orchestrator needs of its node.
class FlowSurroundings {
 public:
  virtual ~FlowSurroundings() = default;
  virtual NodeId self() const = 0;
  virtual std::vector<flow::NodeChoice> nodes() const = 0;
  /// HOST:PORT where other nodes reach `node`.
  virtual std::string address_of(const NodeId& node) const = 0;
  /// A line to a part on `node`, this node included. It reports to `listener`, which outlives it.
  virtual std::unique_ptr<HostSession> open_host(const NodeId& node, std::size_t part, HostListener& listener) = 0;
  /// Relays a link whose two ends dial this node. False: too many links wait.
  virtual bool relay_link(const LinkId& link, const std::string& token, std::uint32_t generation) = 0;
  virtual void forget_relay(const LinkId& link) = 0;
  /// Writes down a flow in the background before anything of it is started: what runs without a record would be found by
  /// nobody once this daemon is gone. Errors: why it can't.
  virtual std::expected<void, std::string> remember(const v1::Flow& flow) = 0;
};

class FlowOrchestrator final {
 public:
  FlowOrchestrator(net::asio::any_io_executor executor, FlowSurroundings& surroundings, FlowClient* client, FlowId id,
                   const v1::RunStart& start, Logger& log);
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
  void stop(std::optional<std::uint64_t> grace_ms, const std::string& reason);

  /// A flow in the background, all of which runs on this node: it goes on when its daemon is gone.
  bool survives_daemon() const;
  /// Leaves it to its spawner; `run` returns.
  void let_go();
  /// Returns when the programs run, or will not.
  net::Awaitable<void> started_or_ended();
  /// Programs run, or have run.
  bool has_started() const;

  /// What it is now, for `ps`.
  void describe(v1::Flow& flow) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::node
