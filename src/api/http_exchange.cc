#include "api/http_exchange.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "base/require.h"

namespace sluice::api {
namespace {

// RFC 9110 section 5.6.7.
std::string date_now() {
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::chrono::system_clock::now()));
}

HttpRefusal too_large(std::size_t size_max) { return {413, fmt::format("the body is larger than {} bytes", size_max)}; }

}  // namespace

HttpExchange::HttpExchange(HttpStream& stream, RequestHead head, const HttpLimits& limits)
    : stream_(stream), head_(std::move(head)), limits_(limits), closes_(!head_.keep_alive) {}

net::Awaitable<void> HttpExchange::want_body() {
  if (head_.expects_continue && head_.has_body() && !begun())
    co_await stream_.write("HTTP/1.1 100 Continue\r\n\r\n", Clock::now() + limits_.write_time);
}

net::Awaitable<std::expected<std::string, HttpRefusal>> HttpExchange::read_body(std::size_t size_max) {
  if (head_.content_length.value_or(0) > size_max) co_return std::unexpected(too_large(size_max));
  if (!head_.has_body()) co_return std::string();
  co_await want_body();
  std::string body;
  BodyShare held(limits_.bodies);
  std::size_t wanted = limits_.progress_bytes;  // that many in all, or the end, before the deadline
  TimePoint deadline = Clock::now() + limits_.progress_time;
  while (true) {
    auto event = co_await stream_.next_event(deadline);
    if (!event && event.error() == NoEvent::refused) co_return std::unexpected(stream_.poll_event().error());
    if (!event && event.error() == NoEvent::lost)
      co_return std::unexpected(HttpRefusal{400, "the body is not complete"});
    if (!event) co_return std::unexpected(HttpRefusal{408, "the body comes too slowly"});
    if (std::holds_alternative<BodyEnd>(*event)) break;
    body += std::get<BodyBytes>(*event).bytes;
    if (body.size() > size_max) co_return std::unexpected(too_large(size_max));
    if (!held.resize(body.size())) co_return std::unexpected(HttpRefusal{429, kTooMuchAtOnce});
    if (body.size() < wanted) continue;
    wanted = body.size() + limits_.progress_bytes;
    deadline = Clock::now() + limits_.progress_time;
  }
  on_body_end();
  co_return body;
}

net::Awaitable<void> HttpExchange::answer(Answer answer) {
  REQUIRE(state_ == State::nothing);
  // What is left of a body would be taken for the next request.
  closes_ = closes_ || !body_is_over();
  ResponseHead head{.status = answer.status,
                    .content_type = answer.content_type,
                    .content_length = answer.body.size(),
                    .close = closes_,
                    .headers = std::move(answer.headers)};
  head.headers.push_back({"Date", date_now()});
  std::string bytes = to_text(head);
  if (head_.method != "HEAD") bytes += answer.body;
  state_ = State::answered;
  status_ = answer.status;
  co_await stream_.write(bytes, Clock::now() + limits_.write_time);
}

net::Awaitable<void> HttpExchange::refuse(HttpRefusal refusal) {
  Answer made{.status = refusal.status,
              .body = error_json({code_of(refusal.status), std::move(refusal.message)}) + "\n",
              .headers = std::move(refusal.headers)};
  co_await answer(std::move(made));
}

net::Awaitable<void> HttpExchange::fail(rpc::Status status) {
  Answer made{.status = http_status(status.code), .body = error_json(status) + "\n"};
  co_await answer(std::move(made));
}

Framing HttpExchange::stream_framing() const {
  return head_.version == HttpVersion::http_1_1 ? Framing::chunked : Framing::to_close;
}

net::Awaitable<bool> HttpExchange::begin(std::string_view content_type, std::string trailers) {
  REQUIRE(state_ == State::nothing);
  closes_ = closes_ || stream_framing() == Framing::to_close;
  ResponseHead head{.content_type = content_type, .framing = stream_framing(), .close = closes_};
  if (!trailers.empty()) head.headers.push_back({"Trailer", std::move(trailers)});
  head.headers.push_back({"Date", date_now()});
  std::string bytes = to_text(head);
  state_ = State::begun;
  status_ = head.status;
  co_return co_await stream_.write(bytes, std::nullopt);
}

net::Awaitable<bool> HttpExchange::send(std::string bytes) {
  REQUIRE(state_ == State::begun);
  if (bytes.empty()) co_return !stream_.dead();
  if (stream_framing() == Framing::chunked) bytes = chunk(bytes);
  co_return co_await stream_.write(bytes, std::nullopt);
}

net::Awaitable<void> HttpExchange::end(std::vector<HttpHeader> trailers) {
  REQUIRE(state_ == State::begun);
  closes_ = closes_ || !body_is_over();
  state_ = State::answered;
  std::string bytes = stream_framing() == Framing::chunked ? last_chunk(trailers) : std::string();
  co_await stream_.write(bytes, Clock::now() + limits_.write_time);
}

void HttpExchange::abandon() {
  state_ = State::abandoned;
  stream_.close();
}

}  // namespace sluice::api
