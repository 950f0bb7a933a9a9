#pragma once
// Opening what a node runs programs with: the user that they run as, its cgroups, and the pool of spawners. What an earlier
// daemon of the same node left running is ended first, but for the flows that it kept.
// Threading: belongs to the control loop.
#include <expected>
#include <memory>
#include <string>

#include "exec/spawner_pool.h"
#include "exec/user_account.h"
#include "exec/zygote_client.h"
#include "node/identity.h"
#include "node/start_options.h"

namespace sluice::node {

struct NodeSpawners {
  exec::UserAccount user;
  bool changes_user = false;  // it is not the one that the node itself runs as
  std::unique_ptr<exec::SpawnerPool> pool;
};

/// Errors: a sentence about --run-as.
std::expected<NodeSpawners, std::string> open_spawners(const StartOptions& options, const Identity& identity,
                                                       exec::ZygoteClient zygote, Logger& log);

}  // namespace sluice::node
