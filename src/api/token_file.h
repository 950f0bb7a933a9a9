#pragma once
// Bearer tokens for HTTP: a file of mode 0600 with one `ROLE TOKEN` a line; blank lines, and lines that begin with `#`,
// are read over.
//
// The roles of machinery (`node`, `gateway`, `worker`, `agent`) are proven by certificates only: they speak no HTTP.
// Threading: immutable once read.
#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/secret.h"
#include "net/peer.h"

namespace sluice::api {

inline constexpr std::size_t kTokenFileMax = std::size_t{64} << 10;
/// 128 bits as 22 letters of base64 are more than this; a word that a person thinks of is not.
inline constexpr std::size_t kTokenMin = 20;
inline constexpr std::size_t kTokenMax = 512;

class TokenFile final {
 public:
  /// Errors: the file can't be read or others may read it, or a line is not as above; a sentence that names the file and
  /// the line, never a token.
  static std::expected<TokenFile, std::string> read(const std::string& path);
  /// `name` is for messages.
  static std::expected<TokenFile, std::string> parse(std::string_view text, const std::string& name);

  /// Takes the same time whichever token matches, or none.
  std::optional<net::Role> role_of(std::string_view token) const;

  bool empty() const { return tokens_.empty(); }

 private:
  struct Token {
    cluster::SecretText text;
    net::Role role;
  };
  std::vector<Token> tokens_;
};

}  // namespace sluice::api
