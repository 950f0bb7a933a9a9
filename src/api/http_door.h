#pragma once
// The HTTP+JSON door: one connection of HTTP/1.1, its requests one after the other. docs/http.md is the contract.
//
//   POST /sluice.v1.Service/Method   a call, through the dispatch table like any other
//   POST /v1/run?pipeline=TEXT       the body is stdin, the answer stdout
//   GET  /v1/nodes, /v1/flows        calls that only read
//   GET  /metrics                    for Prometheus: who may read the counters of flows may read it
//   GET  /livez, /readyz             for whoever watches the node; no proof is asked
//
// Who calls: the user on a Unix socket, the certificate of a TLS connection, or a bearer token, in this order. Nothing
// that a stranger sends is without a limit in size and in time.
// Threading: belongs to the loop of its connection.
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "api/body_budget.h"
#include "api/http_site.h"
#include "api/run_door.h"
#include "base/log.h"
#include "net/async.h"
#include "net/connection.h"
#include "rpc/dispatch.h"

namespace sluice::api {

struct HttpLimits {
  Duration head_time = std::chrono::seconds(10);  // from its first byte to its last; on a new connection from the start
  Duration idle_time = std::chrono::seconds(60);  // between two requests
  // A message that is awaited whole must bring this many bytes, or its end, within each such time.
  Duration progress_time = std::chrono::seconds(10);
  std::size_t progress_bytes = std::size_t{4} << 10;
  Duration write_time = std::chrono::seconds(30);  // for an answer that is sent whole to be taken
  Duration call_time = std::chrono::seconds(10);   // of a unary call without Sluice-Timeout
  /// Of messages that are still arriving, on all connections together: eight of the largest.
  std::shared_ptr<BodyBudget> bodies = std::make_shared<BodyBudget>(std::size_t{32} << 20);
  Duration linger_time = std::chrono::seconds(2);  // a refused body is read that long, so that the client reads why
};

struct HttpOptions {
  /// The role that a bearer token stands for. None set: no token is good.
  std::function<std::optional<net::Role>(std::string_view token)> role_of_token;
  AllowedHosts hosts;
  bool is_unix_socket = false;
  /// Whether the node serves; for /readyz. None set: it does.
  std::function<bool()> is_ready;
  /// The page /metrics. None set: there is none.
  std::function<net::Awaitable<std::string>()> metrics;
  /// Called when a connection has made a request that proved who calls. None set: nobody wants to know.
  std::function<void(const net::Connection& connection)> on_admitted;
  HttpLimits limits;
};

/// Serves until the connection ends; closing it from outside ends it too. Calls and flows that run then are cancelled and
/// awaited. What is given by reference must live until this returns.
net::Awaitable<void> serve_http(std::shared_ptr<net::Connection> connection, const HttpOptions& options,
                                const rpc::DispatchTable& table, RunDoor& run_door, Logger& log);

}  // namespace sluice::api
