#pragma once
// What a request asks for: a method of the API, the run of a pipeline, or how the node is. Pure.
// Threading: pure functions.
#include <expected>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/http_message.h"
#include "api/method_list.h"
#include "api/query_text.h"
#include "base/time.h"

namespace sluice::api {

struct LiveRoute {};
struct ReadyRoute {};

/// A method, by POST /sluice.v1.Service/Method; or one that only reads and has an address of its own, such as
/// GET /v1/nodes, with its request's fields as parameters.
struct CallRoute {
  const ApiMethod* method = nullptr;
  bool from_query = false;
};

struct RunRoute {};

/// What Prometheus reads.
struct MetricsRoute {};

using HttpRoute = std::variant<LiveRoute, ReadyRoute, CallRoute, RunRoute, MetricsRoute>;

/// Errors: 404, 405 with Allow.
std::expected<HttpRoute, HttpRefusal> find_route(const RequestHead& head);

/// Whether the body may be of the type that it claims to be. Pages of other sites can send forms, plain text, and bodies
/// of no type without being asked first (https://fetch.spec.whatwg.org/#simple-header), so none of these is taken.
/// Errors: 415.
std::expected<void, HttpRefusal> check_content_type(const RequestHead& head, const HttpRoute& route);

/// The request of a CallRoute whose fields are in the query, as JSON: `all`, `all=true` and `all=1` are true.
/// Errors: 400.
std::expected<std::string, HttpRefusal> json_from_query(const RequestHead& head, const ApiMethod& method);

/// The header Sluice-Timeout, such as `5s`. Nothing if there is none. Errors: 400.
std::expected<std::optional<Duration>, HttpRefusal> timeout_of(const RequestHead& head);

/// Behind `Bearer` in the header Authorization.
std::optional<std::string_view> bearer_token(const RequestHead& head);

}  // namespace sluice::api
