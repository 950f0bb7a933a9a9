#include "cluster/key_derivation.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <string>

#include "cluster/crypto_handle.h"

namespace sluice::cluster {
namespace {

OSSL_PARAM octets(const char* name, std::span<const std::uint8_t> bytes) {
  // The library only reads what it is given here; its type can't say so.
  return OSSL_PARAM_construct_octet_string(name, const_cast<std::uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

void derive_key(std::span<const std::uint8_t> from, std::string_view info, std::span<std::uint8_t> into) {
  CryptoHandle<EVP_KDF, EVP_KDF_free> hkdf(must(EVP_KDF_fetch(nullptr, "HKDF", nullptr)));
  CryptoHandle<EVP_KDF_CTX, EVP_KDF_CTX_free> context(must(EVP_KDF_CTX_new(hkdf.get())));
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      octets(OSSL_KDF_PARAM_KEY, from),
      octets(OSSL_KDF_PARAM_INFO, {reinterpret_cast<const std::uint8_t*>(info.data()), info.size()}),
      OSSL_PARAM_construct_end(),
  };
  must_succeed(EVP_KDF_derive(context.get(), into.data(), into.size(), parameters));
}

}  // namespace sluice::cluster
