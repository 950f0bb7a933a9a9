#include "api/http_response.h"

#include <fmt/format.h>

#include "api/json_mapping.h"
#include "base/require.h"

namespace sluice::api {
namespace {

// Of a message in a header or trailer; more would be no message.
constexpr std::size_t kHeaderValueMax = 1024;

std::string_view reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Internal Server Error";
  }
}

// A line end in a value would begin another header.
std::string one_line(std::string_view value) {
  std::string line(value.substr(0, kHeaderValueMax));
  for (char& c : line)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
  return line;
}

void append_headers(std::string& to, const std::vector<HttpHeader>& headers) {
  for (const HttpHeader& header : headers) to += fmt::format("{}: {}\r\n", header.name, one_line(header.value));
}

}  // namespace

std::string to_text(const ResponseHead& head) {
  std::string text = fmt::format(
      "HTTP/1.1 {} {}\r\n"
      "Content-Type: {}\r\n"
      "Cache-Control: no-store\r\n"
      "X-Content-Type-Options: nosniff\r\n"
      "Cross-Origin-Resource-Policy: same-origin\r\n",
      head.status, reason(head.status), head.content_type);
  append_headers(text, head.headers);
  if (head.framing == Framing::length) text += fmt::format("Content-Length: {}\r\n", head.content_length);
  if (head.framing == Framing::chunked) text += "Transfer-Encoding: chunked\r\n";
  // HTTP/1.1 keeps a connection unless told; HTTP/1.0 asked for it, or `close` is set.
  text += head.close ? "Connection: close\r\n" : "Connection: keep-alive\r\n";
  return text + "\r\n";
}

std::string chunk(std::string_view bytes) {
  REQUIRE(!bytes.empty());
  return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
}

std::string last_chunk(const std::vector<HttpHeader>& trailers) {
  std::string text = "0\r\n";
  append_headers(text, trailers);
  return text + "\r\n";
}

std::string error_json(const rpc::Status& status) {
  std::string text = fmt::format(R"({{"code":"{}","message":)", code_name(status.code));
  append_json_string(text, status.message);
  return text + "}";
}

int http_status(rpc::Code code) {
  switch (code) {
    case rpc::Code::ok:
      return 200;
    case rpc::Code::cancelled:
      return 499;
    case rpc::Code::invalid_argument:
    case rpc::Code::failed_precondition:
    case rpc::Code::out_of_range:
      return 400;
    case rpc::Code::deadline_exceeded:
      return 504;
    case rpc::Code::not_found:
      return 404;
    case rpc::Code::already_exists:
    case rpc::Code::aborted:
      return 409;
    case rpc::Code::permission_denied:
      return 403;
    case rpc::Code::resource_exhausted:
      return 429;
    case rpc::Code::unimplemented:
      return 501;
    case rpc::Code::unavailable:
      return 503;
    case rpc::Code::unauthenticated:
      return 401;
    case rpc::Code::unknown:
    case rpc::Code::internal:
    case rpc::Code::data_loss:
      break;
  }
  return 500;
}

rpc::Code code_of(int status) {
  switch (status) {
    case 401:
      return rpc::Code::unauthenticated;
    case 403:
    case 421:
      return rpc::Code::permission_denied;
    case 404:
      return rpc::Code::not_found;
    case 405:
    case 501:
    case 505:
      return rpc::Code::unimplemented;
    case 408:
    case 504:
      return rpc::Code::deadline_exceeded;
    case 413:
    case 414:
    case 429:
    case 431:
      return rpc::Code::resource_exhausted;
    case 422:
      return rpc::Code::failed_precondition;
    case 503:
      return rpc::Code::unavailable;
    default:
      return status >= 500 ? rpc::Code::internal : rpc::Code::invalid_argument;
  }
}

}  // namespace sluice::api
