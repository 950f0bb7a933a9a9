#pragma once
// Watches what a stranger sends to a TLS server before the handshake is done.
//
// OpenSSL reserves memory for a handshake message as soon as its header claims a length, up to 128 KiB for nine bytes. Two
// hundred strangers would cost 30 MB. An honest ClientHello has 2 KiB with the key shares of today; a longer claim is
// refused before OpenSSL sees it.
// Threading: a pure value.
// Source: RFC 8446 sections 4 (the header of a message) and 5.1 (of a record).
#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::net {

class HelloGuard final {
 public:
  static constexpr std::uint32_t kMessageMax = 16 << 10;

  /// The next bytes of the client. False: a message that is longer than allowed; nothing of these bytes may be used.
  [[nodiscard]] bool on_bytes(std::span<const std::byte> bytes);

 private:
  void on_record_header(std::uint8_t byte);
  bool on_message(std::uint8_t byte);

  std::uint8_t type_ = 0;  // of the record that we are in
  std::size_t header_have_ = 0;
  std::uint16_t record_size_ = 0;
  std::uint16_t record_left_ = 0;
  std::size_t message_have_ = 0;  // bytes of the header of the message that we are in
  std::uint32_t message_size_ = 0;
  std::uint32_t message_left_ = 0;
};

}  // namespace sluice::net
