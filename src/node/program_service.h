#pragma once
// The methods of sluice.v1.Programs: one program to its end within one call.
//
// It gets what a stage gets on a node: a spawner of the pool, the node's user, a fresh folder that is gone afterwards. Input
// and output travel in the call's own messages, so that many programs share one connection; both are limited.
// When the program has ended, what it left running is ended too.
// Threading: belongs to the control loop.
#include <memory>

#include "node/node_core.h"
#include "node/part_host.h"
#include "rpc/dispatch.h"

namespace sluice::node {

class ProgramService final {
 public:
  ProgramService(NodeCore core, PartSurroundings& surroundings);
  ~ProgramService();

  void register_methods(rpc::DispatchTable& table);

  /// Takes no new programs, and ends those that run. The calls wait for that by themselves.
  void close();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::node
