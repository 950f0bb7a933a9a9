#include "api/http_call.h"

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <memory>
#include <utility>

#include "api/json_mapping.h"
#include "api/line_splitter.h"
#include "api/schema.h"
#include "base/require.h"

namespace sluice::api {
namespace {

using rpc::Code;
using rpc::Status;

std::unexpected<Status> failure(Code code, std::string message) {
  return std::unexpected(Status{code, std::move(message)});
}

/// The messages of the caller, one after the other.
class RequestReader final {
 public:
  RequestReader(HttpExchange& exchange, const ApiMethod& method)
      : exchange_(exchange), method_(method), share_(exchange.limits().bodies) {
    if (!exchange.head().has_body()) lines_.on_end();
  }

  /// Of a call with one request.
  void set_only(std::string json) { only_ = std::move(json); }

  net::Awaitable<std::expected<std::optional<std::string>, Status>> next(std::optional<TimePoint> deadline) {
    std::optional<std::string> json;
    if (only_) {
      json = std::exchange(only_, std::nullopt);
    } else if (method_.client_streams) {
      auto line = co_await next_line(deadline);
      if (!line) co_return std::unexpected(line.error());
      json = std::move(*line);
    }
    if (!json) co_return std::nullopt;
    auto message = message_from_json(api_schema(), method_.request_type, *json, rpc::kMessageMax);
    if (!message) co_return failure(Code::invalid_argument, message.error());
    co_return std::move(*message);
  }

 private:
  net::Awaitable<std::expected<std::optional<std::string>, Status>> next_line(std::optional<TimePoint> deadline) {
    while (true) {
      auto line = lines_.poll_line();
      static_cast<void>(share_.resize(lines_.held()));  // it has become less, which is never refused
      if (line) co_return line;
      if (lines_.finished()) co_return std::nullopt;
      if (lines_.held() > rpc::kMessageMax)
        co_return failure(Code::resource_exhausted, "a line of the body is too long");
      auto event = co_await exchange_.stream().next_event(deadline);
      if (!event) co_return failure_of(event.error());
      if (auto* bytes = std::get_if<BodyBytes>(&*event)) {
        lines_.on_bytes(bytes->bytes);
        if (!share_.resize(lines_.held())) co_return failure(Code::resource_exhausted, kTooMuchAtOnce);
      } else {
        lines_.on_end();
        exchange_.on_body_end();
      }
    }
  }

  std::unexpected<Status> failure_of(NoEvent reason) {
    if (reason == NoEvent::refused)
      return failure(Code::invalid_argument, exchange_.stream().poll_event().error().message);
    if (reason == NoEvent::timed_out) return failure(Code::deadline_exceeded, "the deadline has passed");
    return failure(Code::cancelled, "the client is gone");
  }

  HttpExchange& exchange_;
  const ApiMethod& method_;
  std::optional<std::string> only_;
  LineSplitter lines_;
  BodyShare share_;  // of the lines
};

class HttpCall final : public rpc::ServerCall {
 public:
  HttpCall(HttpExchange& exchange, const ApiMethod& method, rpc::CallInfo info)
      : exchange_(exchange), method_(method), info_(std::move(info)), requests_(exchange, method) {
    if (info_.deadline) deadline_.emplace(exchange.stream().executor(), exchange.stream().changed(), *info_.deadline);
  }

  void set_request(std::string json) { requests_.set_only(std::move(json)); }

  const rpc::CallInfo& info() const override { return info_; }

  net::Awaitable<std::expected<std::optional<std::string>, Status>> read() override {
    if (over()) co_return failure(Code::cancelled, over()->message);
    auto message = co_await requests_.next(info_.deadline);
    if (!message && !broken_) broken_ = message.error();
    if (!message) co_return failure(Code::cancelled, message.error().message);
    co_return message;
  }

  net::Awaitable<std::expected<void, Status>> write(std::string message) override {
    if (over()) co_return failure(Code::cancelled, over()->message);
    auto json = message_to_json(api_schema(), method_.response_type, message, {.print_defaults = true});
    if (!json) co_return failure(Code::internal, json.error());
    *json += '\n';
    if (!method_.server_streams) {
      if (response_) co_return failure(Code::internal, "the method answered twice");
      response_ = std::move(*json);
      co_return std::expected<void, Status>{};
    }
    if (!exchange_.begun()) co_await exchange_.begin(kJsonLinesType, {});
    bool sent = co_await exchange_.send(std::move(*json));
    if (!sent) co_return failure(Code::cancelled, "the client is gone");
    co_return std::expected<void, Status>{};
  }

  net::Awaitable<void> cancelled() override {
    while (!over() && !exchange_.stream().input_ended()) co_await exchange_.stream().changed().wait();
  }

  /// How the call ended, whatever its handler does. Nothing: it has not.
  std::optional<Status> over() const {
    if (broken_) return broken_;
    if (exchange_.stream().dead()) return Status{Code::cancelled, "the client is gone"};
    if (deadline_ && deadline_->rang()) return Status{Code::deadline_exceeded, "the deadline has passed"};
    return std::nullopt;
  }

  std::optional<std::string> take_response() { return std::exchange(response_, std::nullopt); }
  bool server_streams() const { return method_.server_streams; }

 private:
  HttpExchange& exchange_;
  const ApiMethod& method_;
  rpc::CallInfo info_;
  RequestReader requests_;
  std::optional<Alarm> deadline_;
  std::optional<Status> broken_;  // what the caller sent can't be read
  std::optional<std::string> response_;
};

/// A handler that runs beside the wait for the end of its call.
struct Handling {
  std::optional<Status> status;  // set when it has returned
};

// What a handler throws is a bug of ours: the process stops rather than go on with half a change.
void start(const rpc::DispatchTable& table, HttpCall& call, HttpStream& stream, std::shared_ptr<Handling> handling,
           Logger& log) {
  auto on_end = [&stream, &log, handling](const std::exception_ptr& exception, Status status) noexcept {
    if (exception) {
      log.error("exception in a call by HTTP", {{"remote", stream.connection().remote()}});
      std::rethrow_exception(exception);
    }
    handling->status = std::move(status);
    stream.changed().notify();
  };
  net::asio::co_spawn(stream.executor(), table.run(call), std::move(on_end));
}

net::Awaitable<void> answer_stream(HttpExchange& exchange, const Status& status) {
  if (!exchange.begun() && !status.ok()) {
    co_await exchange.fail(status);
    co_return;
  }
  if (!exchange.begun()) co_await exchange.begin(kJsonLinesType, {});
  if (!status.ok()) {
    std::string last_line = "{\"error\":" + error_json(status) + "}\n";
    co_await exchange.send(std::move(last_line));
  }
  co_await exchange.end({});
}

net::Awaitable<void> answer_call(HttpExchange& exchange, HttpCall& call, Status status) {
  if (exchange.stream().dead()) co_return;
  if (call.server_streams()) {
    co_await answer_stream(exchange, status);
    co_return;
  }
  auto response = call.take_response();
  if (status.ok() && !response) status = {Code::internal, "the method gave no answer"};
  if (!status.ok()) {
    co_await exchange.fail(std::move(status));
    co_return;
  }
  Answer answer{.body = std::move(*response)};
  co_await exchange.answer(std::move(answer));
}

net::Awaitable<void> run_call(HttpExchange& exchange, HttpCall& call, const rpc::DispatchTable& table, Logger& log) {
  HttpStream& stream = exchange.stream();
  auto handling = std::make_shared<Handling>();
  start(table, call, stream, handling, log);
  while (!handling->status && !call.over()) co_await stream.changed().wait();
  std::optional<Status> over = call.over();
  // A client that does not take what it is sent can't be told that its time is over.
  if (over && stream.writing()) stream.close();
  Status status = over ? *over : *handling->status;
  co_await answer_call(exchange, call, std::move(status));
  while (!handling->status) co_await stream.changed().wait();
}

/// The one request of a call. Errors: the exchange was answered.
net::Awaitable<std::optional<std::string>> read_request(HttpExchange& exchange, const CallRoute& route) {
  std::expected<std::string, HttpRefusal> json;
  if (route.from_query)
    json = json_from_query(exchange.head(), *route.method);
  else
    json = co_await exchange.read_body(rpc::kMessageMax);
  if (json) co_return std::move(*json);
  co_await exchange.refuse(json.error());
  co_return std::nullopt;
}

}  // namespace

net::Awaitable<void> serve_call(HttpExchange& exchange, HttpCallRequest request, const rpc::DispatchTable& table) {
  const ApiMethod& method = *request.route.method;
  auto timeout = timeout_of(exchange.head());
  if (!timeout) {
    co_await exchange.refuse(timeout.error());
    co_return;
  }
  bool lasts = method.client_streams || method.server_streams;
  if (!*timeout && !lasts) *timeout = exchange.limits().call_time;
  rpc::CallInfo info{.method = method.name, .caller = std::move(request.caller)};
  if (*timeout) info.deadline = Clock::now() + **timeout;
  HttpCall call(exchange, method, std::move(info));
  if (method.client_streams) {
    co_await exchange.want_body();
  } else {
    auto json = co_await read_request(exchange, request.route);
    if (!json) co_return;
    call.set_request(std::move(*json));
  }
  co_await run_call(exchange, call, table, *request.log);
}

}  // namespace sluice::api
