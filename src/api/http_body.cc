#include "api/http_body.h"

#include <algorithm>
#include <charconv>

namespace sluice::api {
namespace {

constexpr std::string_view kLineEnd = "\r\n";

std::unexpected<HttpRefusal> malformed(const char* what) { return std::unexpected(HttpRefusal{400, what}); }

bool is_plain(std::string_view line) {
  return std::ranges::all_of(line, [](char c) { return c == '\t' || (c >= ' ' && c != '\x7f') || c < 0; });
}

}  // namespace

HttpBody::HttpBody(const RequestHead& head) {
  left_ = head.content_length.value_or(0);
  if (head.chunked)
    state_ = State::chunk_size;
  else if (left_ > 0)
    state_ = State::length;
}

std::expected<HttpBody::Piece, HttpRefusal> HttpBody::next(std::string_view arrived) {
  switch (state_) {
    case State::length:
    case State::chunk:
      return content(arrived);
    case State::chunk_size:
      return chunk_size(arrived);
    case State::chunk_end:
      return chunk_end(arrived);
    case State::trailers:
      return trailers(arrived);
    case State::ended:
      break;
  }
  return Piece{};
}

std::expected<HttpBody::Piece, HttpRefusal> HttpBody::content(std::string_view arrived) {
  std::string_view bytes = arrived.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, arrived.size())));
  left_ -= bytes.size();
  if (left_ == 0) state_ = state_ == State::chunk ? State::chunk_end : State::ended;
  return Piece{bytes.size(), bytes};
}

std::expected<HttpBody::Piece, HttpRefusal> HttpBody::chunk_size(std::string_view arrived) {
  std::size_t end = arrived.find(kLineEnd);
  if (std::min(end, arrived.size()) > kChunkLineMax) return malformed("the line before a chunk is too long");
  if (end == arrived.npos) return Piece{};
  std::string_view line = arrived.substr(0, end);
  auto [digits_end, error] = std::from_chars(line.data(), line.data() + line.size(), left_, 16);
  std::string_view rest = line.substr(static_cast<std::size_t>(digits_end - line.data()));
  // from_chars takes a minus sign for no digit, and refuses a size beyond 64 bits.
  if (error != std::errc() || !is_plain(rest) || !(rest.empty() || rest.starts_with(';')))
    return malformed("the size of a chunk is no hexadecimal number");
  state_ = left_ == 0 ? State::trailers : State::chunk;
  return Piece{end + kLineEnd.size(), {}};
}

std::expected<HttpBody::Piece, HttpRefusal> HttpBody::chunk_end(std::string_view arrived) {
  if (arrived.size() < kLineEnd.size()) return Piece{};
  if (!arrived.starts_with(kLineEnd)) return malformed("a chunk is longer than its size");
  state_ = State::chunk_size;
  return Piece{kLineEnd.size(), {}};
}

std::expected<HttpBody::Piece, HttpRefusal> HttpBody::trailers(std::string_view arrived) {
  std::size_t end = arrived.find(kLineEnd);
  std::size_t size = std::min(end, arrived.size()) + kLineEnd.size();
  if (trailers_size_ + size > kTrailersMax) return malformed("the trailers are too long");
  if (end == arrived.npos) return Piece{};
  if (!is_plain(arrived.substr(0, end))) return malformed("a trailer holds a control character");
  trailers_size_ += size;
  if (end == 0) state_ = State::ended;
  return Piece{size, {}};
}

}  // namespace sluice::api
