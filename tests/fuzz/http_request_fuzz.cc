// Any bytes on an HTTP connection: the parser answers the same however they arrive, and everything that is decided about a
// request before a method sees it.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/http_parser.h"
#include "api/http_response.h"
#include "api/http_route.h"
#include "api/http_run.h"
#include "api/http_site.h"
#include "api/json_mapping.h"
#include "api/line_splitter.h"
#include "api/schema.h"
#include "require.h"

namespace {

using namespace sluice::api;
using sluice::fuzz::require;

constexpr std::size_t kMessageMax = 64 << 10;
const AllowedHosts kHosts{{"localhost", "::1"}, 7117};

void check_lines(const ApiMethod& method, const std::string& body) {
  LineSplitter lines;
  lines.on_bytes(body);
  lines.on_end();
  while (auto line = lines.poll_line())
    static_cast<void>(message_from_json(api_schema(), method.request_type, *line, kMessageMax));
  require(lines.finished(), "all lines were given");
}

void check_request(const RequestHead& head, const std::string& body) {
  require(head.path.starts_with('/') || head.path == "*", "an address is a path");
  require(!(head.chunked && head.content_length), "a body has one end");
  require(head.headers.size() <= kHeadersMax, "headers are limited");
  static_cast<void>(check_site(head, {kHosts}));
  static_cast<void>(timeout_of(head));
  static_cast<void>(bearer_token(head));
  auto route = find_route(head);
  if (!route) {
    require(to_text({.status = route.error().status, .headers = route.error().headers}).ends_with("\r\n\r\n"),
            "a head ends");
    return;
  }
  bool type = check_content_type(head, *route).has_value();
  auto* call = std::get_if<CallRoute>(&*route);
  if (std::holds_alternative<RunRoute>(*route))
    static_cast<void>(run_text_of(head));
  else if (call && call->from_query)
    static_cast<void>(json_from_query(head, *call->method));
  else if (call && type)
    check_lines(*call->method, body);
}

/// What the parser says of the bytes when they come `step` at a time, as text. Each request is checked.
std::string trace(std::string_view bytes, std::size_t step) {
  HttpParser parser;
  std::string text, body;
  RequestHead head;
  while (true) {
    auto event = parser.poll_event();
    if (!event) return text + body + "refused " + std::to_string(event.error().status);
    if (!*event) {
      if (bytes.empty()) return text + body;
      parser.on_bytes(bytes.substr(0, step));
      bytes.remove_prefix(std::min(step, bytes.size()));
    } else if (auto* begun = std::get_if<RequestHead>(&**event)) {
      head = std::move(*begun);
      text += head.method + " " + head.path + "?" + head.query + "\n";
      for (const HttpHeader& header : head.headers) text += header.name + ": " + header.value + "\n";
    } else if (auto* piece = std::get_if<BodyBytes>(&**event)) {
      require(!piece->bytes.empty(), "a piece of a body is not empty");
      body += piece->bytes;
    } else {
      check_request(head, body);
      text += body + "\n";
      body.clear();
    }
  }
}

// Of a head that is not whole, Beast says that it is wrong at once or when it ends: this depends on what came with it.
bool agree(std::string_view one, std::string_view other) {
  if (one.size() > other.size()) std::swap(one, other);
  return other.starts_with(one) && (one.size() == other.size() || other.substr(one.size()).starts_with("refused "));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string whole = trace(bytes, bytes.size() + 1);
  const std::string pieces = trace(bytes, data[0] + std::size_t{1});
  require(agree(whole, pieces), "requests do not depend on how they arrive");
  return 0;
}
