#pragma once
// A worker that was started by hand on any host, and serves flows under the name of a role: `sluice worker`, or a
// program that is linked with the C++ library.
//
// It waits on a node, its home, and listens nowhere: what a flow asks of its program, and what that answers, passes
// through one call (proto/sluice/v1/roles.proto). Here the program runs as in any seat (seat_host.h). When the call is
// cut, what runs is killed; a node that is lost is dialled again, or another.
//
//   connecting -> waiting -> serving -> waiting ...      told once to end: no other flow, and what runs is finished
//        ^-----------'----------'                        told twice: it is killed
// Threading: one loop; the seat has a thread of its own.
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "net/async.h"
#include "node/node_access.h"
#include "node/role_program.h"

namespace sluice::node {

struct RoleWorkerRequest {
  std::string role;
  std::string flow;   // id or name of the only one to serve; empty: any
  bool once = false;  // one flow, and no other
};

/// A node could not be reached.
struct RoleWorkerRefusal {
  int status = 1;
  std::string message;
  bool for_good = false;  // the next attempt would end in the same way
};

/// What it has of whoever runs it.
struct RoleWorkerSurroundings {
  /// For a node, as often as one is needed.
  std::function<net::Awaitable<std::expected<std::unique_ptr<NodeAccess>, RoleWorkerRefusal>>()> connect;
  RolePrograms& programs;
  /// Signals that are to end it: readable when `next_signal` has one; borrowed.
  int signal_descriptor;
  std::function<std::optional<int>()> next_signal;
  /// A line for people.
  std::function<void(const std::string& message)> say;
};

struct RoleWorkerEnd {
  int status = 0;
  int signal = 0;  // the second one that it was sent
};

/// Serves until it is told to end, or can't go on.
net::Awaitable<RoleWorkerEnd> run_role_worker(RoleWorkerRequest request, RoleWorkerSurroundings surroundings);

}  // namespace sluice::node
