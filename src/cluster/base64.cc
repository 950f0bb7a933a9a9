#include "cluster/base64.h"

#include <openssl/evp.h>

#include "base/require.h"
#include "cluster/crypto_handle.h"

namespace sluice::cluster {
namespace {

const std::uint8_t* raw(std::string_view text) { return reinterpret_cast<const std::uint8_t*>(text.data()); }

std::size_t padding_of(std::string_view text) {
  if (text.ends_with("==")) return 2;
  return text.ends_with('=') ? 1 : 0;
}

}  // namespace

SecretText to_base64(std::span<const std::uint8_t> bytes) {
  SecretText text = SecretText::of_size((bytes.size() + 2) / 3 * 4 + 1);  // and the zero that the library appends
  const int size = EVP_EncodeBlock(text.fill().data(), bytes.data(), static_cast<int>(bytes.size()));
  INVARIANT(static_cast<std::size_t>(size) + 1 == text.size());
  text.shorten(text.size() - 1);
  return text;
}

std::optional<SecretText> from_base64(std::string_view text) {
  CryptoErrorScope errors;
  if (text.empty()) return SecretText();
  if (text.size() % 4 != 0) return std::nullopt;
  SecretText bytes = SecretText::of_size(text.size() / 4 * 3);
  const int size = EVP_DecodeBlock(bytes.fill().data(), raw(text), static_cast<int>(text.size()));
  if (size < 0 || static_cast<std::size_t>(size) != bytes.size()) return std::nullopt;
  bytes.shorten(bytes.size() - padding_of(text));
  // The library skips blanks and ignores unused bits; writing the value again shows both.
  if (to_base64(bytes.bytes()).view() != text) return std::nullopt;
  return bytes;
}

}  // namespace sluice::cluster
