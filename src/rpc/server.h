#pragma once
// Serves the calls that come in over one connection: each is a coroutine of its method's handler, at most kCallsMax
// (rpc/limits.h) at a time.
// Threading: belongs to the loop of the connection.
#include <functional>
#include <memory>

#include "base/log.h"
#include "net/async.h"
#include "net/connection.h"
#include "rpc/dispatch.h"

namespace sluice::rpc {

/// By which the owner of a connection ends its calls for a reason that the caller is told. Empty while it is not served.
struct HangUp {
  std::function<void(const Status& reason)> now;
};

/// Serves until the connection ends; it is ended by closing the connection, not by Asio's cancellation. The first frame has
/// been read and answered. Handlers that still run when the connection ends are cancelled and awaited. `table` and `log`
/// must outlive that. `hang_up` is filled meanwhile, if there is one.
net::Awaitable<void> serve(std::shared_ptr<net::Connection> connection, const DispatchTable& table, Logger& log,
                           std::shared_ptr<HangUp> hang_up = nullptr);

}  // namespace sluice::rpc
