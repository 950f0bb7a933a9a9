#include "api/http_run.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <optional>
#include <set>
#include <utility>

#include "api/http_route.h"
#include "api/query_text.h"
#include "base/spelling.h"

namespace sluice::api {
namespace {

using rpc::Code;
using rpc::Status;

constexpr std::size_t kOutputBatch = std::size_t{64} << 10;
constexpr const char* kTrailers = "Sluice-Exit-Status, Sluice-Error";
const std::vector<std::string> kParameters = {"pipeline", "timeout", "pipefail"};

std::unexpected<HttpRefusal> bad_request(std::string message) {
  return std::unexpected(HttpRefusal{400, std::move(message)});
}

bool reads_trailers(const RequestHead& head) {
  for (std::string_view value : head.all("te"))
    if (in_small_letters(value).find("trailers") != std::string::npos) return true;
  return false;
}

/// What the two directions of a run share.
struct Run {
  HttpExchange& exchange;
  std::unique_ptr<RunningFlow> flow;
  bool finished = false;                // the flow has
  bool input_wanted = true;             // the pipeline reads
  bool input_ended = false;             // the body has
  int running = 0;                      // coroutines beside the one that carries the output
  std::optional<HttpRefusal> bad_body;  // why the flow was cancelled, if that was the client's doing
};

/// Of the body, as long as the pipeline reads it.
net::Awaitable<void> feed(Run& run, std::string bytes) {
  if (!run.input_wanted) co_return;
  auto written = co_await run.flow->write_input(std::as_bytes(std::span(bytes)));
  run.input_wanted = written.has_value();
}

void end_input(Run& run) {
  run.input_ended = true;
  run.exchange.on_body_end();
  run.flow->close_input();
}

net::Awaitable<void> carry_input(Run& run) {
  HttpStream& stream = run.exchange.stream();
  if (!run.exchange.head().has_body()) end_input(run);
  while (!run.finished && !run.input_ended) {
    auto event = stream.poll_event();
    if (!event) {
      run.bad_body = event.error();
      run.flow->cancel();
      co_return;
    }
    if (!*event)
      co_await stream.changed().wait();
    else if (std::holds_alternative<BodyEnd>(**event))
      end_input(run);
    else
      co_await feed(run, std::move(std::get<BodyBytes>(**event).bytes));
  }
}

// A client that goes away ends the flow, whatever the two directions are waiting for.
net::Awaitable<void> watch_client(Run& run) {
  HttpStream& stream = run.exchange.stream();
  while (!run.finished && !stream.input_ended()) co_await stream.changed().wait();
  if (run.finished) co_return;
  if (!run.input_ended && !run.bad_body) run.bad_body = HttpRefusal{400, "the body is not complete"};
  run.flow->cancel();
}

// What one throws is a bug of ours: the process stops rather than go on with half a change.
void start_beside(Run& run, net::Awaitable<void> work, Logger& log) {
  auto on_end = [&run, &log](const std::exception_ptr& exception) noexcept {
    if (exception) {
      log.error("exception in a run by HTTP", {{"remote", run.exchange.stream().connection().remote()}});
      std::rethrow_exception(exception);
    }
    --run.running;
    run.exchange.stream().changed().notify();
  };
  ++run.running;
  net::asio::co_spawn(run.exchange.stream().executor(), std::move(work), std::move(on_end));
}

/// Until its end, also when nobody takes it any more: the flow is on its way to its end then.
net::Awaitable<void> carry_output(Run& run) {
  std::vector<std::byte> buffer(kOutputBatch);
  while (true) {
    std::size_t size = co_await run.flow->read_output(buffer);
    if (size == 0) break;
    if (run.exchange.stream().dead()) continue;
    if (!run.exchange.begun()) co_await run.exchange.begin(kBytesType, kTrailers);
    std::string bytes(reinterpret_cast<const char*>(buffer.data()), size);
    bool sent = co_await run.exchange.send(std::move(bytes));
    if (!sent) run.flow->cancel();
  }
}

std::vector<HttpHeader> trailers_of(const FlowResult& result) {
  std::vector<HttpHeader> trailers = {{"Sluice-Exit-Status", std::to_string(result.exit_status)}};
  if (!result.outcome.ok()) trailers.push_back({"Sluice-Error", result.outcome.message});
  return trailers;
}

// Nothing was written, so there is still room for a status.
net::Awaitable<void> answer_without_output(HttpExchange& exchange, const FlowResult& result) {
  std::vector<HttpHeader> status = {{"Sluice-Exit-Status", std::to_string(result.exit_status)}};
  Answer answer{.content_type = kBytesType, .headers = std::move(status)};
  if (!result.outcome.ok() || result.exit_status != 0) {
    Status why = result.outcome.ok() ? Status{Code::failed_precondition,
                                              "the pipeline ended with status " + std::to_string(result.exit_status)}
                                     : result.outcome;
    answer.status = result.outcome.ok() ? 422 : http_status(why.code);
    answer.content_type = kJsonType;
    answer.body = error_json(why) + "\n";
  }
  co_await exchange.answer(std::move(answer));
}

net::Awaitable<void> answer_run(const Run& run, const FlowResult& result) {
  HttpExchange& exchange = run.exchange;
  if (exchange.stream().dead()) co_return;
  if (!exchange.begun() && run.bad_body)
    co_await exchange.refuse(*run.bad_body);
  else if (!exchange.begun())
    co_await answer_without_output(exchange, result);
  else if (result.outcome.ok() || reads_trailers(exchange.head()))
    co_await exchange.end(trailers_of(result));
  else
    exchange.abandon();
}

net::Awaitable<void> carry(HttpExchange& exchange, std::unique_ptr<RunningFlow> flow, Logger& log) {
  co_await exchange.want_body();
  Run run{exchange, std::move(flow)};
  start_beside(run, carry_input(run), log);
  start_beside(run, watch_client(run), log);
  co_await carry_output(run);
  FlowResult result = co_await run.flow->finish();
  run.finished = true;
  exchange.stream().changed().notify();
  while (run.running > 0) co_await exchange.stream().changed().wait();
  co_await answer_run(run, result);
}

std::expected<void, HttpRefusal> check_run(const HttpExchange& exchange, const rpc::DispatchTable& table,
                                           const rpc::Caller& caller, const FlowId& id) {
  if (exchange.head().version == HttpVersion::http_1_0)
    return std::unexpected(
        HttpRefusal{505, "a run needs HTTP/1.1: HTTP/1.0 can't tell a part of the output from all of it"});
  Status permission = table.admit(
      {.method = std::string(kRunMethod), .caller = caller, .deadline = {}, .object = {{"flow", id.text()}}});
  if (!permission.ok()) return std::unexpected(HttpRefusal{http_status(permission.code), permission.message});
  return {};
}

}  // namespace

std::expected<RunText, HttpRefusal> run_text_of(const RequestHead& head) {
  auto parameters = parse_query(head.query);
  if (!parameters) return bad_request(parameters.error());
  auto timeout = timeout_of(head);
  if (!timeout) return std::unexpected(timeout.error());
  RunText text{.timeout = *timeout};
  std::set<std::string> seen;
  for (QueryParameter& parameter : *parameters) {
    // Which of two would hold is a matter of taste, and whoever checked the request before us may have had another.
    if (!seen.insert(parameter.name).second) return bad_request("the parameter '" + parameter.name + "' is said twice");
    if (parameter.name == "pipeline") {
      text.pipeline = std::move(parameter.value);
    } else if (parameter.name == "pipefail") {
      text.pipefail = std::move(parameter.value);
    } else if (parameter.name == "timeout") {
      auto said = parse_duration(parameter.value);
      if (!said) return bad_request("timeout: " + said.error());
      text.timeout = *said;
    } else {
      return bad_request("there is no parameter '" + parameter.name + "'" + did_you_mean(parameter.name, kParameters));
    }
  }
  if (text.pipeline.empty()) return bad_request("the parameter 'pipeline' is missing: POST /v1/run?pipeline=TEXT");
  return text;
}

net::Awaitable<void> serve_run(HttpExchange& exchange, HttpRunRequest request, const rpc::DispatchTable& table,
                               RunDoor& door) {
  auto text = run_text_of(exchange.head());
  FlowId id = FlowId::random();
  if (auto allowed = check_run(exchange, table, request.caller, id); !allowed) text = std::unexpected(allowed.error());
  if (!text) {
    co_await exchange.refuse(text.error());
    co_return;
  }
  text->id = id;
  auto flow = co_await door.start(std::move(*text), std::move(request.caller));
  if (!flow)
    co_await exchange.fail(flow.error());
  else
    co_await carry(exchange, std::move(*flow), *request.log);
}

}  // namespace sluice::api
