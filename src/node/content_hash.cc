#include "node/content_hash.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>

#include "base/require.h"

namespace sluice::node {

std::optional<ContentId> ContentId::from_bytes(std::string_view bytes) {
  ContentId id;
  if (bytes.size() != id.bytes.size()) return std::nullopt;
  std::ranges::copy(bytes, id.bytes.begin());
  return id;
}

std::string ContentId::as_bytes() const { return std::string(bytes.begin(), bytes.end()); }

std::string ContentId::hex() const {
  std::string text;
  for (std::uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

struct ContentHash::State {
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

// OpenSSL fails here for want of memory only.
ContentHash::ContentHash() : state_(std::make_unique<State>()) {
  bool begun = state_->context && EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr) == 1;
  INVARIANT(begun);
}
ContentHash::~ContentHash() = default;
ContentHash::ContentHash(ContentHash&&) noexcept = default;
ContentHash& ContentHash::operator=(ContentHash&&) noexcept = default;

void ContentHash::update(std::span<const char> bytes) {
  bool taken = EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1;
  INVARIANT(taken);
}

ContentId ContentHash::finish() {
  ContentId id;
  bool done = EVP_DigestFinal_ex(state_->context.get(), id.bytes.data(), nullptr) == 1;
  INVARIANT(done);
  return id;
}

}  // namespace sluice::node
