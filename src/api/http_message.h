#pragma once
// A request of HTTP/1.1 (RFC 9110, RFC 9112) as the door sees it, and why one was refused.
// Threading: pure values.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::api {

struct HttpHeader {
  std::string name;  // in small letters; of a response as it is sent
  std::string value;
};

enum class HttpVersion { http_1_0, http_1_1 };

struct RequestHead {
  std::string method;
  std::string path;   // as sent, percent signs and all
  std::string query;  // without the question mark
  HttpVersion version = HttpVersion::http_1_1;
  std::vector<HttpHeader> headers;
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = false;
  bool expects_continue = false;

  bool has_body() const { return chunked || content_length.value_or(0) > 0; }
  /// The first header of that name, in small letters; null if there is none.
  const std::string* find(std::string_view name) const;
  std::vector<std::string_view> all(std::string_view name) const;
};

/// A request that is answered without being carried out.
struct HttpRefusal {
  int status = 400;
  std::string message;                   // for people
  std::vector<HttpHeader> headers = {};  // such as Allow
};

bool equal_ignoring_case(std::string_view a, std::string_view b);
/// Small letters instead of capital ones; only ASCII has a case here.
std::string in_small_letters(std::string_view text);

}  // namespace sluice::api
