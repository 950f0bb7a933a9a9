#pragma once
// The bytes of an answer: its head, chunks and trailers (RFC 9112), and what an error looks like.
//
// Every answer says that it is for its asker alone: not kept (Cache-Control), not taken for anything but its type
// (X-Content-Type-Options), not embedded by another site (Cross-Origin-Resource-Policy). None ever has a header that lets
// another site read it (Access-Control-*).
// Threading: pure functions.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/http_message.h"
#include "rpc/status.h"

namespace sluice::api {

inline constexpr std::string_view kJsonType = "application/json";
inline constexpr std::string_view kJsonLinesType = "application/x-ndjson";
inline constexpr std::string_view kBytesType = "application/octet-stream";
inline constexpr std::string_view kTextType = "text/plain; charset=utf-8";
inline constexpr std::string_view kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

enum class Framing {
  length,    // Content-Length
  chunked,   // HTTP/1.1
  to_close,  // what HTTP/1.0 has instead
};

struct ResponseHead {
  int status = 200;
  std::string_view content_type = kJsonType;
  Framing framing = Framing::length;
  std::uint64_t content_length = 0;
  bool close = false;  // the connection ends behind this answer
  std::vector<HttpHeader> headers = {};
};

std::string to_text(const ResponseHead& head);
/// Requires: some bytes; a chunk without any is the end.
std::string chunk(std::string_view bytes);
std::string last_chunk(const std::vector<HttpHeader>& trailers);

/// {"code":"NOT_FOUND","message":"..."}
std::string error_json(const rpc::Status& status);

/// The usual mapping: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
int http_status(rpc::Code code);
/// What a refusal by the door counts as.
rpc::Code code_of(int http_status);

}  // namespace sluice::api
