#include "cluster/signing_key.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "cluster/crypto_handle.h"
#include "cluster/pem.h"

namespace sluice::cluster {
namespace {

using KeyHandle = CryptoHandle<EVP_PKEY, EVP_PKEY_free>;
using DigestContext = CryptoHandle<EVP_MD_CTX, EVP_MD_CTX_free>;

const std::uint8_t* raw(std::string_view text) { return reinterpret_cast<const std::uint8_t*>(text.data()); }

bool is_ed25519(const EVP_PKEY* key) { return key != nullptr && EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519; }

PublicKey public_half(const EVP_PKEY* key) {
  PublicKey bytes;
  std::size_t size = bytes.size();
  must_succeed(EVP_PKEY_get_raw_public_key(key, bytes.data(), &size));
  REQUIRE(size == bytes.size());
  return bytes;
}

KeyHandle public_handle(const PublicKey& key) {
  return KeyHandle(must(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size())));
}

// Only this form: the library's general reader would ask the terminal for the password of an encrypted key.
KeyHandle read_pkcs8(const SecretText& der) {
  const std::uint8_t* at = der.bytes().data();
  CryptoHandle<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free> info(
      d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, static_cast<long>(der.size())));
  if (!info || at != der.bytes().data() + der.size()) return nullptr;
  return KeyHandle(EVP_PKCS82PKEY(info.get()));
}

void free_der(std::uint8_t* der) { OPENSSL_free(der); }

}  // namespace

SigningKey SigningKey::generate() { return from_seed(SigningSeed::random()); }

SigningKey SigningKey::from_seed(const SigningSeed& seed) {
  EVP_PKEY* key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.bytes().data(), seed.bytes().size());
  return SigningKey({must(key), EVP_PKEY_free});
}

std::expected<SigningKey, std::string> SigningKey::from_pem(std::string_view pem) {
  CryptoErrorScope errors;
  auto der = parse_pem_block(pem, kPemPrivateKey);
  if (!der) return std::unexpected(der.error());
  KeyHandle key = read_pkcs8(*der);
  if (!is_ed25519(key.get())) return std::unexpected("the private key is damaged, or not of the kind Ed25519");
  return SigningKey({key.release(), EVP_PKEY_free});
}

PublicKey SigningKey::public_key() const { return public_half(key_.get()); }

Signature SigningKey::sign(std::string_view message) const {
  DigestContext context(must(EVP_MD_CTX_new()));
  must_succeed(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()));
  Signature signature;
  std::size_t size = signature.size();
  must_succeed(EVP_DigestSign(context.get(), signature.data(), &size, raw(message), message.size()));
  REQUIRE(size == signature.size());
  return signature;
}

SecretText SigningKey::pem() const {
  CryptoHandle<PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free> info(must(EVP_PKEY2PKCS8(key_.get())));
  SecretText der = SecretText::of_size(static_cast<std::size_t>(i2d_PKCS8_PRIV_KEY_INFO(info.get(), nullptr)));
  std::uint8_t* at = der.fill().data();
  REQUIRE(i2d_PKCS8_PRIV_KEY_INFO(info.get(), &at) == static_cast<int>(der.size()));
  return format_pem(kPemPrivateKey, der.bytes());
}

bool verify(const PublicKey& key, std::string_view message, const Signature& signature) {
  CryptoErrorScope errors;
  KeyHandle handle = public_handle(key);
  DigestContext context(must(EVP_MD_CTX_new()));
  must_succeed(EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, handle.get()));
  return EVP_DigestVerify(context.get(), signature.data(), signature.size(), raw(message), message.size()) == 1;
}

std::string to_pem(const PublicKey& key) {
  std::uint8_t* der = nullptr;
  const int size = i2d_PUBKEY(public_handle(key).get(), &der);
  CryptoHandle<std::uint8_t, free_der> owner(must(der));
  return std::string(format_pem(kPemPublicKey, {der, static_cast<std::size_t>(size)}).view());
}

std::expected<PublicKey, std::string> public_key_from_pem(std::string_view pem) {
  CryptoErrorScope errors;
  auto der = parse_pem_block(pem, kPemPublicKey);
  if (!der) return std::unexpected(der.error());
  const std::uint8_t* at = der->bytes().data();
  KeyHandle key(d2i_PUBKEY(nullptr, &at, static_cast<long>(der->size())));
  if (!is_ed25519(key.get()) || at != der->bytes().data() + der->size())
    return std::unexpected("the public key is damaged, or not of the kind Ed25519");
  return public_half(key.get());
}

}  // namespace sluice::cluster
