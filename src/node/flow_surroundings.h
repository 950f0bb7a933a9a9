#pragma once
// What an orchestrator needs of its node, and to whom it speaks: the hosts of its parts, and the client.
// Threading: belongs to the control loop.
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/id.h"
#include "base/time.h"
#include "flow/placement.h"
#include "net/async.h"
#include "node/host_session.h"

namespace sluice::v1 {
class Flow;
class FlowMemory;
class HostEvent;
class RunOutput;
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
  /// So much waits to be sent that what can be left out should be.
  virtual bool crowded() const { return false; }
  /// Returns when little enough waits to be sent.
  virtual net::Awaitable<void> room() = 0;
};

/// Until when a flow in the background may run, for the daemon that is started after this one.
struct FlowLimits {
  TimePoint deadline;  // of the clock that counts from the boot of the host: no flow outlives that
  Duration grace{};
};

/// What an orchestrator needs of its node.
class FlowSurroundings {
 public:
  virtual ~FlowSurroundings() = default;
  virtual NodeId self() const = 0;
  virtual std::vector<flow::NodeChoice> nodes() const = 0;
  /// Fills in how many cores of each node are free.
  virtual net::Awaitable<void> ask_free_cores(std::vector<flow::NodeChoice>& nodes) = 0;
  /// Asks every node for the workers that wait there for a role: FlowOrchestrator::on_offered is told.
  virtual void ask_offers() = 0;
  /// See PlacementContext::gone.
  virtual std::map<std::string, std::string> gone_nodes() const = 0;
  /// HOST:PORT where other nodes reach `node`.
  virtual std::string address_of(const NodeId& node) const = 0;
  /// A line to a part on `node`, this node included. It reports to `listener`, which outlives it.
  virtual std::unique_ptr<HostSession> open_host(const NodeId& node, std::size_t part, HostListener& listener) = 0;
  /// A line to a part on another node that runs already. It is told first what has become of it.
  virtual std::unique_ptr<HostSession> resume_host(const NodeId& node, const FlowId& flow, std::size_t part,
                                                   HostListener& listener) = 0;
  /// Relays a link whose two ends dial this node. False: too many links wait.
  virtual bool relay_link(const LinkId& link, const std::string& token, std::uint32_t generation) = 0;
  /// Every end of the flow's links is up.
  virtual void start_relay(const LinkId& link) = 0;
  virtual void forget_relay(const LinkId& link) = 0;
  /// Writes down a flow in the background before anything of it is started: what runs without a record would be found by
  /// nobody once this daemon is gone. Errors: why it can't.
  virtual std::expected<void, std::string> remember(const v1::Flow& flow, std::optional<FlowLimits> limits) = 0;
  /// What another daemon of this node needs to know the parts of a remembered flow again, in place of what was said before.
  /// Errors: why it can't.
  virtual std::expected<void, std::string> remember_parts(const FlowId& flow, const v1::FlowMemory& memory) = 0;
};

}  // namespace sluice::node
