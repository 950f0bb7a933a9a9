#pragma once
// A call of the API that came by HTTP: JSON in, JSON out, between the dispatch table and one exchange.
//
// A unary answer is sent whole. A stream of answers is JSON lines, the head with the first of them, so that a call that
// fails before has a status of its own; one that fails later ends with {"error":{...}}.
// Threading: belongs to the loop of its connection.
#include <optional>
#include <string>

#include "api/http_exchange.h"
#include "api/http_route.h"
#include "rpc/dispatch.h"

namespace sluice::api {

struct HttpCallRequest {
  CallRoute route;
  rpc::Caller caller;
  Logger* log = nullptr;
};

/// Carries the call out and answers it. Returns when its handler has returned.
net::Awaitable<void> serve_call(HttpExchange& exchange, HttpCallRequest request, const rpc::DispatchTable& table);

}  // namespace sluice::api
