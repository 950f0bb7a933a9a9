#pragma once
// Binary messages between hosts: integers in network byte order (RFC 1700), byte strings behind their length.
//
// A reader never fails halfway with an exception: it remembers that the bytes ran out, gives zeros from then on, and
// says so when it is asked. So a decoder reads its fields straight down and checks `complete()` once.
// Threading: pure values.
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace sluice {

class WireWriter final {
 public:
  template <std::unsigned_integral T>
  void put(T value) {
    for (std::size_t shift = sizeof(T); shift-- > 0;) bytes_.push_back(static_cast<char>(value >> (8 * shift)));
  }
  void put_bytes(std::span<const std::uint8_t> bytes) {
    bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void put_raw(std::string_view bytes) { bytes_.append(bytes); }
  /// A length of `Length`'s width, then the bytes. The caller sees to it that they fit.
  template <std::unsigned_integral Length>
  void put_text(std::string_view text) {
    put(static_cast<Length>(text.size()));
    bytes_.append(text);
  }

  std::size_t size() const { return bytes_.size(); }
  const std::string& bytes() const { return bytes_; }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class WireReader final {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

  template <std::unsigned_integral T>
  T get() {
    std::string_view raw = get_raw(sizeof(T));
    std::uint64_t value = 0;
    for (char c : raw) value = value << 8 | static_cast<std::uint8_t>(c);
    return static_cast<T>(value);
  }
  /// The next `size` bytes; nothing, and a failed reader, if there are fewer.
  std::string_view get_raw(std::size_t size) {
    if (size > bytes_.size()) {
      failed_ = true;
      bytes_ = {};
      return {};
    }
    std::string_view raw = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return raw;
  }
  void get_bytes(std::span<std::uint8_t> into) {
    std::string_view raw = get_raw(into.size());
    for (std::size_t i = 0; i < raw.size(); ++i) into[i] = static_cast<std::uint8_t>(raw[i]);
  }
  template <std::unsigned_integral Length>
  std::string_view get_text() {
    return get_raw(get<Length>());
  }

  bool failed() const { return failed_; }
  /// Everything was read, and nothing was missing.
  bool complete() const { return !failed_ && bytes_.empty(); }
  std::size_t left() const { return bytes_.size(); }
  std::string_view rest() const { return bytes_; }

 private:
  std::string_view bytes_;
  bool failed_ = false;
};

}  // namespace sluice
