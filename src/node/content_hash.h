#pragma once
// The hash by which shipped files are known: SHA-256 (FIPS 180-4) of their bytes.
// Threading: a value.
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice::node {

struct ContentId {
  std::array<std::uint8_t, 32> bytes{};

  /// Nothing if `bytes` are not 32.
  static std::optional<ContentId> from_bytes(std::string_view bytes);
  std::string as_bytes() const;
  std::string hex() const;
  auto operator<=>(const ContentId&) const = default;
};

class ContentHash final {
 public:
  ContentHash();
  ~ContentHash();
  ContentHash(ContentHash&&) noexcept;
  ContentHash& operator=(ContentHash&&) noexcept;

  void update(std::span<const char> bytes);
  /// Of all bytes so far. Once only.
  ContentId finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::node
