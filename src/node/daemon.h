#pragma once
// `sluice start`: builds the parts of a node, wires them together, and shuts them down in order. Reading `daemon.cc` shows
// the whole program.
#include <string>

#include "exec/zygote_client.h"
#include "node/start_options.h"

namespace sluice::node {

/// Why a node did not come up, or with what it ended.
struct NodeEnd {
  int status = 0;
  std::string message;  // empty: in good order
};

/// Runs until it is told to leave: by a signal, or by a call.
NodeEnd run_node(StartOptions options, exec::ZygoteClient zygote);

}  // namespace sluice::node
