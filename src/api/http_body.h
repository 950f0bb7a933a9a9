#pragma once
// Where the body of a request ends: a given length, or chunks (RFC 9112 sections 6 and 7.1). Pure: it is shown bytes and
// says which of them belong to the body.
//
// Stricter than the standard allows, since a body that two programs end at different places is how requests are smuggled
// past one of them: lines end with CR LF and nothing else, and are short.
// Threading: none of its own.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <string_view>

#include "api/http_message.h"

namespace sluice::api {

/// A chunk's size and its extensions, which nobody uses.
inline constexpr std::size_t kChunkLineMax = 256;
/// All trailers of a request, which are read over.
inline constexpr std::size_t kTrailersMax = std::size_t{8} << 10;

class HttpBody final {
 public:
  /// No body at all.
  HttpBody() = default;
  explicit HttpBody(const RequestHead& head);

  struct Piece {
    std::size_t taken = 0;   // of what was shown
    std::string_view bytes;  // of the body, a part of what was shown
  };
  /// Looks at what has arrived. Nothing taken: more must arrive, or the body has ended. Errors: it is not well-formed; the
  /// connection can't go on.
  std::expected<Piece, HttpRefusal> next(std::string_view arrived);

  bool ended() const { return state_ == State::ended; }

 private:
  enum class State { length, chunk_size, chunk, chunk_end, trailers, ended };

  std::expected<Piece, HttpRefusal> content(std::string_view arrived);
  std::expected<Piece, HttpRefusal> chunk_size(std::string_view arrived);
  std::expected<Piece, HttpRefusal> chunk_end(std::string_view arrived);
  std::expected<Piece, HttpRefusal> trailers(std::string_view arrived);

  State state_ = State::ended;
  std::uint64_t left_ = 0;  // of the body or the chunk
  std::size_t trailers_size_ = 0;
};

}  // namespace sluice::api
