#pragma once
// What the links and the programs of a part tell their owner, the part's host.
// Threading: belongs to the control loop.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "exec/spawn_protocol.h"
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
  /// Every byte of that input of the part, and its end, were delivered.
  virtual void on_input_delivered(std::size_t input) = 0;
  /// The input of that program was delivered to its end.
  virtual void release_input(exec::ProgramIndex program) = 0;
  /// Both links of a seat that has joined are up (PartLinks::join_seat), and are to be started. False: they can't.
  virtual bool on_seat_joined(std::uint32_t stage, std::size_t seat) = 0;
  /// A link of a seat was cut: what it asks for is not whole any more.
  virtual void on_seat_lost() = 0;
  virtual void on_programs_started(const std::vector<std::int32_t>& pids) = 0;
  /// `exited` is what its spawner says; what the stage has to say of it comes first.
  virtual void on_program_exited(const exec::Exited& exited) = 0;
  /// No program of the part is left.
  virtual void on_programs_childless() = 0;
};

}  // namespace sluice::node
