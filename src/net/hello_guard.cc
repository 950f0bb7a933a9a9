#include "net/hello_guard.h"

namespace sluice::net {
namespace {

constexpr std::uint8_t kHandshakeRecord = 22;
constexpr std::size_t kRecordHeaderSize = 5;   // type, version (two bytes), length (two bytes)
constexpr std::size_t kMessageHeaderSize = 4;  // type, length (three bytes)

}  // namespace

bool HelloGuard::on_bytes(std::span<const std::byte> bytes) {
  for (std::byte raw : bytes) {
    auto byte = static_cast<std::uint8_t>(raw);
    if (record_left_ == 0) {
      on_record_header(byte);
      continue;
    }
    --record_left_;
    // Records of other types, those that are encrypted among them, have their own limits in OpenSSL.
    if (type_ == kHandshakeRecord && !on_message(byte)) return false;
  }
  return true;
}

void HelloGuard::on_record_header(std::uint8_t byte) {
  if (header_have_ == 0) type_ = byte;
  if (++header_have_ < kRecordHeaderSize - 1) return;
  record_size_ = static_cast<std::uint16_t>(record_size_ << 8 | byte);
  if (header_have_ < kRecordHeaderSize) return;
  record_left_ = record_size_;
  header_have_ = 0;
}

bool HelloGuard::on_message(std::uint8_t byte) {
  if (message_left_ > 0) {
    --message_left_;
    return true;
  }
  if (message_have_++ > 0) message_size_ = message_size_ << 8 | byte;
  if (message_have_ < kMessageHeaderSize) return true;
  message_left_ = message_size_;
  message_have_ = 0;
  message_size_ = 0;
  return message_left_ <= kMessageMax;
}

}  // namespace sluice::net
