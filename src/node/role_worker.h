#pragma once
// `sluice worker`: a program that was started by hand on any host, and serves flows under the name of a role.
//
// It waits on a node, its home, and listens nowhere: what a flow asks of its program, and what that answers, passes through
// one call (proto/sluice/v1/roles.proto). Here the program runs as in any seat (seat_host.h). When the call is cut, what
// runs is killed; a node that is lost is dialled again, or another.
//
//   connecting -> waiting -> serving -> waiting ...      a first signal: no other flow, and what runs is finished
//        ^-----------'----------'                        a second one: it is killed
// Threading: one loop; the seat has a thread of its own.
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "exec/entry_state.h"
#include "exec/environment.h"
#include "exec/zygote_client.h"
#include "net/async.h"
#include "node/cluster_run.h"

namespace sluice::node {

struct RoleWorkerRequest {
  std::string role;
  std::string flow;                  // id or name of the only one to serve; empty: any
  std::string path;                  // of the program
  std::vector<std::string> command;  // its name included
  exec::Environment environment;
  std::string directory;  // to run it in
  bool once = false;      // one flow, and no other
};

/// A node could not be reached.
struct RoleWorkerRefusal {
  int status = 1;
  std::string message;
  bool for_good = false;  // the next attempt would end in the same way
};
using RoleWorkerConnect =
    std::function<net::Awaitable<std::expected<std::unique_ptr<NodeAccess>, RoleWorkerRefusal>>()>;

/// Serves until it is told to end; `connect` is asked for a node as often as one is needed.
net::Awaitable<RunResult> run_role_worker(RoleWorkerRequest request, RoleWorkerConnect connect,
                                          exec::ZygoteClient zygote, const exec::EntryState& entry);

}  // namespace sluice::node
