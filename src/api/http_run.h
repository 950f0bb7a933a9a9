#pragma once
// POST /v1/run: the body of the request is the stdin of a pipeline, the body of the answer its stdout.
//
// The head of the answer is sent with the first output, so that a pipeline that fails before has a status of its own. How
// it ended is said in trailers, `Sluice-Exit-Status` and `Sluice-Error`. A flow that was cut short may have lost the end of
// its output: to a client that has not said that it reads trailers (`TE: trailers`), the connection is then cut instead, so
// that it never takes a part for the whole.
// Threading: belongs to the loop of its connection.
#include "api/http_exchange.h"
#include "api/run_door.h"
#include "rpc/dispatch.h"

namespace sluice::api {

/// The method that a run counts as: its roles, and its name in the audit log.
inline constexpr std::string_view kRunMethod = "sluice.v1.Flows/Run";

/// Errors: 400.
std::expected<RunText, HttpRefusal> run_text_of(const RequestHead& head);

struct HttpRunRequest {
  rpc::Caller caller;
  Logger* log = nullptr;
};

/// Runs it and answers. Returns when the flow has ended.
net::Awaitable<void> serve_run(HttpExchange& exchange, HttpRunRequest request, const rpc::DispatchTable& table,
                               RunDoor& door);

}  // namespace sluice::api
