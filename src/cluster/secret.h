#pragma once
// Bytes that must not outlive their use: they are overwritten when their owner goes, so that neither a core dump nor
// memory that is used again shows them. Each kind of secret has a type of its own, so that one can't stand for another.
// Threading: values.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"

namespace sluice::cluster {

/// Overwrites `bytes` in a way that no compiler leaves out.
void wipe(std::span<std::uint8_t> bytes);
/// Takes the same time wherever two secrets differ.
bool equal_in_constant_time(std::span<const std::uint8_t> left, std::span<const std::uint8_t> right);

inline constexpr std::size_t kSecretSize = 32;

template <class Tag>
class Secret final {
 public:
  using Bytes = std::span<const std::uint8_t, kSecretSize>;

  explicit Secret(Bytes bytes) { std::copy(bytes.begin(), bytes.end(), bytes_.begin()); }
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret() { wipe(bytes_); }

  static Secret random() {
    Secret secret;
    fill_random(secret.bytes_);
    return secret;
  }
  /// `fill` writes all kSecretSize bytes.
  template <class Fill>
  static Secret filled_by(Fill fill) {
    Secret secret;
    fill(std::span<std::uint8_t, kSecretSize>(secret.bytes_));
    return secret;
  }

  Bytes bytes() const { return bytes_; }
  bool operator==(const Secret& other) const { return equal_in_constant_time(bytes_, other.bytes_); }

 private:
  Secret() = default;
  std::array<std::uint8_t, kSecretSize> bytes_{};
};

/// Text, or bytes of any length, that hold a secret. Moved, never copied.
class SecretText final {
 public:
  SecretText() = default;
  explicit SecretText(std::string_view text) : bytes_(text.begin(), text.end()) {}
  /// `size` zeros, to be filled.
  static SecretText of_size(std::size_t size);
  SecretText(SecretText&&) noexcept = default;
  SecretText& operator=(SecretText&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~SecretText();

  std::string_view view() const { return {bytes_.data(), bytes_.size()}; }
  std::span<const std::uint8_t> bytes() const {
    return {reinterpret_cast<const std::uint8_t*>(bytes_.data()), bytes_.size()};
  }
  std::span<std::uint8_t> fill() { return {reinterpret_cast<std::uint8_t*>(bytes_.data()), bytes_.size()}; }
  std::size_t size() const { return bytes_.size(); }
  void append(std::string_view more);
  /// Keeps the first `size` bytes.
  void shorten(std::size_t size);

 private:
  std::vector<char> bytes_;  // not a string: a short one would leave its bytes behind when it is moved
};

}  // namespace sluice::cluster
