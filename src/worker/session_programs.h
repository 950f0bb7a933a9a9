#pragma once
// The handlers of the C++ library as the program of a role worker (sessions.h).
// Threading: belongs to the loop of its executor.
#include <memory>

#include "net/async.h"
#include "node/role_program.h"
#include "worker/sessions.h"

namespace sluice::worker {

/// `sessions` outlives it.
std::unique_ptr<node::RolePrograms> session_programs(net::asio::any_io_executor executor, Sessions& sessions);

}  // namespace sluice::worker
