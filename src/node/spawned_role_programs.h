#pragma once
// The programs of `sluice worker`: the command that it was given, as processes of a spawner.
// Threading: belongs to the loop of its executor.
#include <memory>
#include <string>
#include <vector>

#include "exec/environment.h"
#include "exec/zygote_client.h"
#include "net/async.h"
#include "node/role_program.h"

namespace sluice::node {

struct RoleCommand {
  std::string path;                  // of the program
  std::vector<std::string> command;  // its name included
  exec::Environment environment;
  std::string directory;  // to run it in
};

std::unique_ptr<RolePrograms> spawned_role_programs(net::asio::any_io_executor executor, RoleCommand command,
                                                    exec::ZygoteClient zygote);

}  // namespace sluice::node
