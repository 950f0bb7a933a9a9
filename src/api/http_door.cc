#include "api/http_door.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/this_coro.hpp>
#include <exception>
#include <utility>

#include "api/http_call.h"
#include "api/http_exchange.h"
#include "api/http_route.h"
#include "api/http_run.h"
#include "api/http_stream.h"

namespace sluice::api {
namespace {

constexpr std::string_view kCountersMethod = "sluice.v1.Flows/ReadCounters";

struct Door {
  const HttpOptions& options;
  const rpc::DispatchTable& table;
  RunDoor& run_door;
  Logger& log;
  std::shared_ptr<HttpStream> stream;
  bool first = true;  // request of this connection
};

// What the reader throws is a bug of ours: the process stops rather than go on with half a change.
void start_reading(Door& door) {
  auto on_end = [stream = door.stream, &log = door.log](const std::exception_ptr& exception) noexcept {
    if (!exception) return;
    log.error("exception while reading HTTP", {{"remote", stream->connection().remote()}});
    std::rethrow_exception(exception);
  };
  net::asio::co_spawn(door.stream->executor(), HttpStream::read_until_end(door.stream), std::move(on_end));
}

/// The next head. Errors as those of HttpStream::next_event; timed_out only if a head has begun.
net::Awaitable<std::expected<RequestHead, NoEvent>> read_head(Door& door) {
  HttpStream& stream = *door.stream;
  const HttpLimits& limits = door.options.limits;
  bool begun = std::exchange(door.first, false) || stream.inside_request();
  auto alarm = std::make_unique<Alarm>(stream.executor(), stream.changed(),
                                       Clock::now() + (begun ? limits.head_time : limits.idle_time));
  while (true) {
    auto event = stream.poll_event();
    if (!event) co_return std::unexpected(NoEvent::refused);
    if (*event) co_return std::move(std::get<RequestHead>(**event));
    if (stream.input_ended()) co_return std::unexpected(NoEvent::lost);
    if (alarm->rang()) co_return std::unexpected(stream.inside_request() ? NoEvent::timed_out : NoEvent::lost);
    if (!begun && stream.inside_request()) {
      begun = true;
      alarm = std::make_unique<Alarm>(stream.executor(), stream.changed(), Clock::now() + limits.head_time);
    }
    co_await stream.changed().wait();
  }
}

/// Who calls. Errors: 401.
std::expected<rpc::Caller, HttpRefusal> find_caller(const Door& door, const RequestHead& head) {
  const net::Connection& connection = door.stream->connection();
  rpc::Caller caller{
      .connection = connection.peer(), .effective = connection.peer().role, .remote = connection.remote()};
  net::Peer::Proof proof = connection.peer().proof;
  if (proof == net::Peer::Proof::local_user || proof == net::Peer::Proof::certificate) return caller;
  auto token = bearer_token(head);
  auto role = token && door.options.role_of_token ? door.options.role_of_token(*token) : std::nullopt;
  if (!role)
    return std::unexpected(HttpRefusal{401,
                                       token ? "the token is not one of this node's"
                                             : "prove who you are: by a client certificate, or by the header "
                                               "'Authorization: Bearer TOKEN'",
                                       {{"WWW-Authenticate", "Bearer realm=\"sluice\""}}});
  caller.connection.proof = net::Peer::Proof::token;
  caller.connection.role = caller.effective = *role;
  caller.connection.name = "a token of role " + std::string(net::role_name(*role));
  return caller;
}

struct Admitted {
  HttpRoute route;
  std::optional<rpc::Caller> caller;  // none: nobody is asked who he is
};

/// Everything that is checked before a body is looked at. A wrong method comes first: a browser that asks whether a page
/// may send (OPTIONS) is told no more than that.
std::expected<Admitted, HttpRefusal> admit(const Door& door, const RequestHead& head) {
  auto route = find_route(head);
  if (!route && route.error().status == 405) return std::unexpected(route.error());
  Site site{door.options.hosts, door.stream->connection().encrypted(), door.options.is_unix_socket};
  if (auto refusal = check_site(head, site)) return std::unexpected(std::move(*refusal));
  bool open = route && (std::holds_alternative<LiveRoute>(*route) || std::holds_alternative<ReadyRoute>(*route));
  if (open) return Admitted{*route, std::nullopt};
  auto caller = find_caller(door, head);
  if (!caller) return std::unexpected(caller.error());
  if (!route) return std::unexpected(route.error());
  if (auto type = check_content_type(head, *route); !type) return std::unexpected(type.error());
  return Admitted{*route, std::move(*caller)};
}

net::Awaitable<void> answer_probe(HttpExchange& exchange, bool good, const char* otherwise) {
  Answer answer{.status = good ? 200 : 503, .content_type = kTextType, .body = good ? "ok\n" : otherwise};
  co_await exchange.answer(std::move(answer));
}

// Who may read the counters of flows by a call may read them here.
net::Awaitable<void> answer_metrics(Door& door, HttpExchange& exchange, rpc::Caller caller) {
  rpc::Status permission = door.table.admit(
      {.method = std::string(kCountersMethod), .caller = std::move(caller), .deadline = {}, .object = {}});
  if (!door.options.metrics) permission = {rpc::Code::not_found, "this node has no /metrics"};
  if (!permission.ok()) {
    co_await exchange.fail(std::move(permission));
    co_return;
  }
  std::string page = co_await door.options.metrics();
  Answer answer{.content_type = kMetricsType, .body = std::move(page)};
  co_await exchange.answer(std::move(answer));
}

net::Awaitable<void> carry_out(Door& door, HttpExchange& exchange) {
  auto admitted = admit(door, exchange.head());
  if (admitted && admitted->caller && door.options.on_admitted) door.options.on_admitted(door.stream->connection());
  if (!admitted) {
    co_await exchange.refuse(admitted.error());
  } else if (std::holds_alternative<LiveRoute>(admitted->route)) {
    co_await answer_probe(exchange, true, "");
  } else if (std::holds_alternative<ReadyRoute>(admitted->route)) {
    co_await answer_probe(exchange, !door.options.is_ready || door.options.is_ready(), "not ready\n");
  } else if (auto* call = std::get_if<CallRoute>(&admitted->route)) {
    HttpCallRequest request{.route = *call, .caller = std::move(*admitted->caller), .log = &door.log};
    co_await serve_call(exchange, std::move(request), door.table);
  } else if (std::holds_alternative<MetricsRoute>(admitted->route)) {
    co_await answer_metrics(door, exchange, std::move(*admitted->caller));
  } else {
    HttpRunRequest request{.caller = std::move(*admitted->caller), .log = &door.log};
    co_await serve_run(exchange, std::move(request), door.table, door.run_door);
  }
}

/// Answers one request. False: no other may follow on this connection.
net::Awaitable<bool> serve_request(Door& door, RequestHead head) {
  TimePoint start = Clock::now();
  HttpExchange exchange(*door.stream, std::move(head), door.options.limits);
  // Whoever reads a body sees its end; where there is none, its end comes at once.
  if (!exchange.head().has_body()) static_cast<void>(door.stream->poll_event());
  co_await carry_out(door, exchange);
  auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
  door.log.debug("http request", {{"method", exchange.head().method},
                                  {"path", exchange.head().path},
                                  {"status", exchange.status()},
                                  {"remote", door.stream->connection().remote()},
                                  {"elapsed_ms", took}});
  co_return exchange.keeps_alive() && !door.stream->dead();
}

/// Tells a client why its bytes were no request.
net::Awaitable<void> answer_broken(Door& door, HttpRefusal refusal) {
  HttpExchange exchange(*door.stream, RequestHead{}, door.options.limits);  // keeps nothing alive
  co_await exchange.refuse(std::move(refusal));
}

net::Awaitable<void> serve_requests(Door& door) {
  while (true) {
    auto head = co_await read_head(door);
    if (!head && head.error() == NoEvent::lost) co_return;
    if (!head) {
      HttpRefusal refusal{408, "the head of the request did not come in time"};
      if (head.error() == NoEvent::refused) refusal = door.stream->poll_event().error();
      co_await answer_broken(door, std::move(refusal));
      co_return;
    }
    bool another = co_await serve_request(door, std::move(*head));
    if (!another) co_return;
  }
}

// A connection that is closed with bytes unread is reset, and the answer may be lost on its way.
net::Awaitable<void> linger(Door& door) {
  HttpStream& stream = *door.stream;
  if (!stream.inside_request()) co_return;
  stream.drop_input();
  Alarm alarm(stream.executor(), stream.changed(), Clock::now() + door.options.limits.linger_time);
  while (!stream.input_ended() && !alarm.rang()) co_await stream.changed().wait();
}

}  // namespace

net::Awaitable<void> serve_http(std::shared_ptr<net::Connection> connection, const HttpOptions& options,
                                const rpc::DispatchTable& table, RunDoor& run_door, Logger& log) {
  auto executor = co_await net::asio::this_coro::executor;
  Door door{options, table, run_door, log, std::make_shared<HttpStream>(executor, std::move(connection))};
  start_reading(door);
  co_await serve_requests(door);
  co_await linger(door);
  door.stream->close();
  while (!door.stream->ended()) co_await door.stream->changed().wait();
}

}  // namespace sluice::api
