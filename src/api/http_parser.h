#pragma once
// Bytes of one connection in, requests out: heads by Boost.Beast's parser, bodies by http_body.h. Pure: no socket, no
// clock; the shell asks for events until there is none, then brings more bytes.
// Threading: none of its own.
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "api/http_body.h"
#include "api/http_message.h"

namespace sluice::api {

/// The whole head of a request, and parts of it.
inline constexpr std::size_t kHeadMax = std::size_t{16} << 10;
inline constexpr std::size_t kTargetMax = std::size_t{8} << 10;
inline constexpr std::size_t kHeadersMax = 100;

struct BodyBytes {
  std::string bytes;  // at least one
};
struct BodyEnd {};
/// A head, then its body's bytes, then its end (at once, if there is no body), then the next head.
using HttpEvent = std::variant<RequestHead, BodyBytes, BodyEnd>;

class HttpParser final {
 public:
  HttpParser();
  ~HttpParser();
  HttpParser(const HttpParser&) = delete;
  HttpParser& operator=(const HttpParser&) = delete;

  void on_bytes(std::string_view bytes);

  /// Nothing: more bytes are needed. Errors: the connection can't go on; the same is said from then on.
  std::expected<std::optional<HttpEvent>, HttpRefusal> poll_event();

  /// Nothing that arrived or will arrive is looked at any more.
  void stop();

  /// Bytes that arrived and are in no event yet.
  std::size_t buffered() const { return buffer_.size() - taken_; }
  /// A request has begun and has not ended, or was refused.
  bool inside_request() const { return state_ == State::body || head_parser_ || buffered() > 0 || refusal_; }

 private:
  enum class State { head, body };
  struct HeadParser;

  std::expected<std::optional<RequestHead>, HttpRefusal> poll_head();
  std::expected<std::optional<HttpEvent>, HttpRefusal> poll_body();
  std::string_view rest() const { return std::string_view(buffer_).substr(taken_); }
  void take(std::size_t size);
  void skip_empty_lines();

  State state_ = State::head;
  std::string buffer_;
  std::size_t taken_ = 0;  // of the buffer
  std::unique_ptr<HeadParser> head_parser_;
  HttpBody body_;
  std::optional<HttpRefusal> refusal_;
};

}  // namespace sluice::api
