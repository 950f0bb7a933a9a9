#pragma once
// Blocks of text that hold binary values (RFC 7468), as `openssl` writes them. Strict: outside of the blocks there may be
// empty lines and lines that begin with `#`, so that a damaged block is an error and never skipped as a comment.
// Threading: pure functions.
#include <cstddef>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/secret.h"

namespace sluice::cluster {

inline constexpr std::string_view kPemCertificate = "CERTIFICATE";
inline constexpr std::string_view kPemPrivateKey = "PRIVATE KEY";
inline constexpr std::string_view kPemPublicKey = "PUBLIC KEY";

struct PemBlock {
  std::string label;
  SecretText value;
};

inline constexpr std::size_t kPemBlocksMax = 16;

/// Errors: a sentence that names the line, and nothing of what stands there, since that may be a secret.
std::expected<std::vector<PemBlock>, std::string> parse_pem(std::string_view text);
/// The value of the one block that `text` holds. Errors: as above; another label; more or fewer blocks.
std::expected<SecretText, std::string> parse_pem_block(std::string_view text, std::string_view label);
SecretText format_pem(std::string_view label, std::span<const std::uint8_t> value);

}  // namespace sluice::cluster
