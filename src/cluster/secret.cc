#include "cluster/secret.h"

#include <openssl/crypto.h>

#include "base/require.h"

namespace sluice::cluster {

void wipe(std::span<std::uint8_t> bytes) {
  if (!bytes.empty()) OPENSSL_cleanse(bytes.data(), bytes.size());
}

bool equal_in_constant_time(std::span<const std::uint8_t> left, std::span<const std::uint8_t> right) {
  return left.size() == right.size() && CRYPTO_memcmp(left.data(), right.data(), left.size()) == 0;
}

SecretText SecretText::of_size(std::size_t size) {
  SecretText text;
  text.bytes_.resize(size);
  return text;
}

SecretText::~SecretText() { wipe(fill()); }

void SecretText::append(std::string_view more) {
  // A vector that grows leaves what it held behind. So it grows here, where that is overwritten.
  if (bytes_.size() + more.size() > bytes_.capacity()) {
    std::vector<char> larger;
    larger.reserve(2 * (bytes_.size() + more.size()));
    larger.assign(bytes_.begin(), bytes_.end());
    wipe(fill());
    bytes_ = std::move(larger);
  }
  bytes_.insert(bytes_.end(), more.begin(), more.end());
}

void SecretText::shorten(std::size_t size) {
  REQUIRE(size <= bytes_.size());
  wipe(fill().subspan(size));
  bytes_.resize(size);
}

}  // namespace sluice::cluster
