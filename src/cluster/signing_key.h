#pragma once
// Ed25519 (RFC 8032): the key pairs of the authority and of every certificate. A signature depends on key and message
// alone, without a random number, so that every host that holds the cluster key makes the same bytes.
// Threading: values; the key behind them is never changed.
#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "cluster/secret.h"

struct evp_pkey_st;  // the library's EVP_PKEY

namespace sluice::cluster {

using PublicKey = std::array<std::uint8_t, 32>;
using Signature = std::array<std::uint8_t, 64>;
using SigningSeed = Secret<struct SigningSeedTag>;

class SigningKey final {
 public:
  static SigningKey generate();
  static SigningKey from_seed(const SigningSeed& seed);
  /// PKCS #8 (RFC 8410), not encrypted. Errors: no such block, or a key of another kind.
  static std::expected<SigningKey, std::string> from_pem(std::string_view pem);

  PublicKey public_key() const;
  Signature sign(std::string_view message) const;
  SecretText pem() const;
  /// For the library's own functions.
  evp_pkey_st* handle() const { return key_.get(); }

 private:
  explicit SigningKey(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}
  std::shared_ptr<evp_pkey_st> key_;  // shared by the copies of this value; the library counts too
};

bool verify(const PublicKey& key, std::string_view message, const Signature& signature);

/// SubjectPublicKeyInfo (RFC 8410).
std::string to_pem(const PublicKey& key);
/// Errors: no such block, or a key of another kind.
std::expected<PublicKey, std::string> public_key_from_pem(std::string_view pem);

}  // namespace sluice::cluster
