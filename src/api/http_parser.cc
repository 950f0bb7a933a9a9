// The only file that includes a parser of Boost.Beast: it takes a quarter of a minute to compile.
#include "api/http_parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>

namespace sluice::api {
namespace {

namespace http = boost::beast::http;

using BeastParser = http::request_parser<http::empty_body>;

HttpRefusal refusal_of(const boost::system::error_code& error, bool in_first_line) {
  if (error == http::error::header_limit)
    return in_first_line ? HttpRefusal{414, "the address is longer than " + std::to_string(kTargetMax) + " bytes"}
                         : HttpRefusal{431, "the headers are longer than " + std::to_string(kHeadMax) + " bytes"};
  if (error == http::error::bad_version) return {505, "this is neither HTTP/1.1 nor HTTP/1.0"};
  return {400, "the request is not well-formed: " + error.message()};
}

// --- what Beast lets pass, and we do not --------------------------------------------------------------------------

std::optional<HttpRefusal> check_target(const RequestHead& head, std::string_view target) {
  if (target.size() > kTargetMax)
    return HttpRefusal{414, "the address is longer than " + std::to_string(kTargetMax) + " bytes"};
  bool server_wide = target == "*" && head.method == "OPTIONS";
  bool control =
      std::ranges::any_of(target, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; });
  if ((!target.starts_with('/') && !server_wide) || control || target.find('#') != target.npos)
    return HttpRefusal{400, "the address of a request is a path; this is no proxy"};
  return std::nullopt;
}

// Both a length and chunks, two lengths, or a second coding: what one program takes for the end of this request is the
// beginning of another request to the next (RFC 9112 section 6.1). Beast refuses most of it, and this the rest.
std::optional<HttpRefusal> check_framing(const RequestHead& head) {
  auto codings = head.all("transfer-encoding");
  if (!codings.empty() && head.find("content-length"))
    return HttpRefusal{400, "a request has either a length or a transfer coding"};
  auto lengths = head.all("content-length");
  if (lengths.size() > 1 || (!lengths.empty() && lengths.front().find(',') != std::string_view::npos))
    return HttpRefusal{400, "the length of a request is said once"};
  if (!codings.empty() && head.version == HttpVersion::http_1_0)
    return HttpRefusal{400, "HTTP/1.0 knows no transfer coding"};
  if (codings.size() > 1 || (codings.size() == 1 && !equal_ignoring_case(codings.front(), "chunked")))
    return HttpRefusal{501, "the only transfer coding is chunked"};
  return std::nullopt;
}

std::optional<HttpRefusal> check_headers(const RequestHead& head) {
  if (head.headers.size() > kHeadersMax)
    return HttpRefusal{431, "there are more than " + std::to_string(kHeadersMax) + " headers"};
  auto hosts = head.all("host");
  if (hosts.size() > 1 || (hosts.empty() && head.version == HttpVersion::http_1_1))
    return HttpRefusal{400, "a request has one Host header"};
  const std::string* expectation = head.find("expect");
  if (expectation && !equal_ignoring_case(*expectation, "100-continue"))
    return HttpRefusal{417, "the only expectation is 100-continue"};
  return std::nullopt;
}

std::expected<RequestHead, HttpRefusal> head_of(const BeastParser& parser) {
  const auto& message = parser.get();
  RequestHead head;
  head.method = std::string(message.method_string());
  head.version = message.version() >= 11 ? HttpVersion::http_1_1 : HttpVersion::http_1_0;
  for (const auto& field : message)
    head.headers.push_back({in_small_letters(std::string_view(field.name_string())), std::string(field.value())});
  std::string_view target = message.target();
  std::size_t mark = std::min(target.find('?'), target.size());
  head.path = target.substr(0, mark);
  if (mark < target.size()) head.query = target.substr(mark + 1);
  if (parser.content_length()) head.content_length = *parser.content_length();
  head.chunked = parser.chunked();
  head.keep_alive = parser.keep_alive();
  head.expects_continue = head.version == HttpVersion::http_1_1 && head.find("expect") != nullptr;
  for (auto refusal : {check_target(head, target), check_framing(head), check_headers(head)})
    if (refusal) return std::unexpected(std::move(*refusal));
  return head;
}

}  // namespace

struct HttpParser::HeadParser {
  HeadParser() {
    parser.header_limit(kHeadMax);
    parser.body_limit(boost::none);  // bodies are none of its business
  }

  BeastParser parser;
  std::size_t size = 0;  // of what it has taken
};

HttpParser::HttpParser() = default;
HttpParser::~HttpParser() = default;

void HttpParser::on_bytes(std::string_view bytes) {
  if (!refusal_) buffer_ += bytes;
}

void HttpParser::stop() {
  if (!refusal_) refusal_ = HttpRefusal{400, "the connection is about to end"};
  take(buffered());
}

std::expected<std::optional<HttpEvent>, HttpRefusal> HttpParser::poll_event() {
  if (refusal_) return std::unexpected(*refusal_);
  std::expected<std::optional<HttpEvent>, HttpRefusal> event;
  if (state_ == State::body) {
    event = poll_body();
  } else {
    auto head = poll_head();
    if (!head)
      event = std::unexpected(head.error());
    else if (*head)
      event = HttpEvent(std::move(**head));
  }
  if (!event) refusal_ = event.error();
  return event;
}

std::expected<std::optional<RequestHead>, HttpRefusal> HttpParser::poll_head() {
  if (!head_parser_) skip_empty_lines();
  if (buffered() == 0 || (!head_parser_ && rest() == "\r")) return std::nullopt;
  if (!head_parser_) head_parser_ = std::make_unique<HeadParser>();
  boost::system::error_code error;
  bool in_first_line = head_parser_->size == 0 && rest().find("\r\n") == std::string_view::npos;
  std::size_t taken = head_parser_->parser.put(boost::asio::buffer(rest()), error);
  head_parser_->size += taken;
  take(taken);
  bool done = head_parser_->parser.is_header_done();
  if (head_parser_->size + (done ? 0 : buffered()) > kHeadMax) error = http::error::header_limit;
  if (error && error != http::error::need_more) return std::unexpected(refusal_of(error, in_first_line));
  if (!done) return std::nullopt;
  auto head = head_of(head_parser_->parser);
  head_parser_.reset();
  if (!head) return std::unexpected(head.error());
  body_ = HttpBody(*head);
  state_ = State::body;
  return std::move(*head);
}

std::expected<std::optional<HttpEvent>, HttpRefusal> HttpParser::poll_body() {
  while (!body_.ended()) {
    auto piece = body_.next(rest());
    if (!piece) return std::unexpected(piece.error());
    if (piece->taken == 0) return std::nullopt;
    std::string bytes(piece->bytes);
    take(piece->taken);
    if (!bytes.empty()) return HttpEvent(BodyBytes{std::move(bytes)});
  }
  state_ = State::head;
  return HttpEvent(BodyEnd{});
}

void HttpParser::take(std::size_t size) {
  taken_ += size;
  // Moved to the front when half is gone: every byte is moved at most once on average.
  if (taken_ * 2 < buffer_.size()) return;
  buffer_.erase(0, taken_);
  taken_ = 0;
  if (buffer_.empty()) buffer_.shrink_to_fit();
}

// Some clients send one behind a body (RFC 9112 section 2.2).
void HttpParser::skip_empty_lines() {
  while (rest().starts_with("\r\n")) take(2);
}

}  // namespace sluice::api
