#pragma once
// The messages of one call that have arrived and wait for their reader, and the credit that its sender has.
//
// A message that is being put together is granted as it arrives, or one larger than the window could never be sent; a
// complete one is granted when it is taken. So a reader that has stopped costs at most kMessageMax and a window.
//   granted  is the largest value so far of  taken + the message that is being put together + window
// Invariants: received <= granted; received - taken <= kMessageMax + kMessageCost + window.
// Threading: none of its own; it belongs to its call.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "rpc/limits.h"
#include "rpc/message_queue.h"

namespace sluice::rpc {

class IncomingMessages final {
 public:
  /// Requires: a window that has room for the cost of two messages.
  explicit IncomingMessages(std::size_t window);

  /// A piece of a message; `more` if it is not the last. True if a message is complete now.
  /// Errors: more than was granted, or too large a message; a sentence. The connection must be closed.
  std::expected<bool, std::string> on_piece(std::string_view bytes, bool more);
  /// The oldest complete message.
  std::optional<std::string> take();
  /// Credit to be sent, if it is worth a frame.
  std::optional<std::uint32_t> poll_grant();

  /// What has arrived and was not taken, with its cost.
  std::size_t held() const { return static_cast<std::size_t>(received_ - taken_); }
  bool empty() const { return messages_.empty(); }
  /// A message has begun and is not complete.
  bool incomplete() const { return begun_; }

 private:
  MessageQueue messages_;  // complete
  std::string partial_;
  bool begun_ = false;
  std::size_t window_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t granted_ = 0;
};

}  // namespace sluice::rpc
