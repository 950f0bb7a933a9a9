#pragma once
// What the links and the programs of a part tell their owner, the part's host.
// Threading: belongs to the control loop.
#include <cstdint>
#include <string>
#include <vector>

#include "net/async.h"

namespace sluice::v1 {
class HostEvent;
}

namespace sluice::node {

/// Of a flow that was not run, or not to its end: what failed was not a program.
constexpr int kRefusedStatus = 125;

class PartOwner {
 public:
  virtual ~PartOwner() = default;
  /// Runs `task`. The owner, and with it its links and programs, lives until that has returned.
  virtual void spawn(net::Awaitable<void> task) = 0;
  virtual void emit(v1::HostEvent event) = 0;
  /// Returns when the orchestrator has room for more error output.
  virtual net::Awaitable<void> room() = 0;
  /// Ends the part. `stage`: its index in the flow; -1: none in particular.
  virtual void fail(int status, const std::string& message, int stage = -1) = 0;
  /// A link or a program has ended: the part may be over.
  virtual void check_over() = 0;

  virtual void on_links_connected() = 0;
  /// An input was cut. Who reads it must be killed before this returns: its descriptor is closed then.
  virtual void on_input_lost() = 0;
  /// Every byte of the input, and its end, were delivered.
  virtual void on_input_delivered() = 0;
  virtual void on_programs_started(const std::vector<std::int32_t>& pids) = 0;
};

}  // namespace sluice::node
