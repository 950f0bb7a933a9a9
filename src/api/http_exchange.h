#pragma once
// One request and its answer: what was asked, and how far the answer has gone.
//
//   nothing sent --answer--> answered
//        |--begin--> begun --send*--> begun --end--> answered
//                      |--abandon--> abandoned (the client sees a cut connection, never a short answer as a whole one)
// Threading: belongs to the loop of its connection.
#include <string>
#include <string_view>
#include <vector>

#include "api/http_door.h"
#include "api/http_message.h"
#include "api/http_response.h"
#include "api/http_stream.h"
#include "net/async.h"
#include "rpc/call.h"

namespace sluice::api {

inline constexpr const char* kTooMuchAtOnce = "other requests fill the memory for those that arrive; try again later";

struct Answer {
  int status = 200;
  std::string_view content_type = kJsonType;
  std::string body;
  std::vector<HttpHeader> headers = {};
};

class HttpExchange final {
 public:
  HttpExchange(HttpStream& stream, RequestHead head, const HttpLimits& limits);
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  const RequestHead& head() const { return head_; }
  HttpStream& stream() { return stream_; }
  const HttpLimits& limits() const { return limits_; }

  /// Tells a client that waits for it that its body is wanted.
  net::Awaitable<void> want_body();
  /// The whole body. Errors: too large, too slow, not well-formed, too much held by all; a client that is gone is one of them.
  net::Awaitable<std::expected<std::string, HttpRefusal>> read_body(std::size_t size_max);
  /// To be told of each event of the body that somebody else takes from the stream.
  void on_body_end() { body_ended_ = true; }

  net::Awaitable<void> answer(Answer answer);
  net::Awaitable<void> refuse(HttpRefusal refusal);
  net::Awaitable<void> fail(rpc::Status status);

  /// The head of an answer whose length is not known. `trailers` are the names of those that will follow.
  net::Awaitable<bool> begin(std::string_view content_type, std::string trailers);
  /// Waits while the client reads too slowly. False: it is gone.
  net::Awaitable<bool> send(std::string bytes);
  net::Awaitable<void> end(std::vector<HttpHeader> trailers);
  void abandon();

  bool begun() const { return state_ != State::nothing; }
  bool answered() const { return state_ == State::answered || state_ == State::abandoned; }
  int status() const { return status_; }
  /// Another request may follow.
  bool keeps_alive() const { return state_ == State::answered && !closes_; }

 private:
  enum class State { nothing, begun, answered, abandoned };

  Framing stream_framing() const;
  bool body_is_over() const { return body_ended_ || !head_.has_body(); }

  HttpStream& stream_;
  RequestHead head_;
  const HttpLimits& limits_;
  State state_ = State::nothing;
  bool body_ended_ = false;
  bool closes_ = false;
  int status_ = 0;
};

}  // namespace sluice::api
