#pragma once
// The orchestrator's line to one part of a flow, wherever that runs: on this node, on another, or on the client.
namespace sluice::v1 {
class HostCommand;
class HostEvent;
}  // namespace sluice::v1

namespace sluice::node {

class HostSession {
 public:
  virtual ~HostSession() = default;
  /// Sends in order, without waiting. To a host that is lost it does nothing.
  virtual void send(const v1::HostCommand& command) = 0;
  /// Nothing more will be sent or is of interest; what still runs there is ended.
  virtual void close() = 0;
  /// As close, but what is kept in the background goes on.
  virtual void let_go() { close(); }
};

}  // namespace sluice::node
