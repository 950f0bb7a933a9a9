#include "rpc/outgoing_messages.h"

#include <algorithm>

#include "base/require.h"

namespace sluice::rpc {

OutgoingMessages::OutgoingMessages(std::size_t window) : credit_(window) { REQUIRE(window >= 2 * kMessageCost); }

void OutgoingMessages::add(std::string message) {
  REQUIRE(message.size() <= kMessageMax);
  REQUIRE(!finished_);
  queued_ += message.size() + kMessageCost;
  messages_.push(std::move(message));
}

void OutgoingMessages::finish() { finished_ = true; }

bool OutgoingMessages::grant(std::uint64_t bytes) {
  if (bytes > kCreditMax - std::min(credit_, kCreditMax)) return false;
  credit_ += bytes;
  return true;
}

bool OutgoingMessages::ready() const {
  if (empty()) return finished_ && !told_finished_;
  if (begun_) return credit_ > 0;
  // The cost is paid with the first piece, which has a byte at least, or the whole of an empty message.
  return credit_ > kMessageCost || (credit_ == kMessageCost && messages_.front().empty());
}

void OutgoingMessages::poll_frame(std::string& into, StreamId stream) {
  REQUIRE(ready());
  if (!empty()) return poll_piece(into, stream);
  told_finished_ = true;
  put_frame(into, {FrameType::done, 0, stream, {}});
}

void OutgoingMessages::poll_piece(std::string& into, StreamId stream) {
  const std::string& message = messages_.front();
  std::size_t cost = begun_ ? 0 : kMessageCost;
  std::size_t left = message.size() - sent_;
  std::size_t size = std::min({left, kPieceMax, static_cast<std::size_t>(credit_ - cost)});
  bool whole = size == left;
  bool last = whole && finished_ && messages_.size() == 1;
  auto flags = static_cast<std::uint8_t>((whole ? 0 : frame_flag::more) | (last ? frame_flag::last : 0));
  put_frame(into, {FrameType::message, flags, stream, std::string_view(message).substr(sent_, size)});
  INVARIANT(size + cost <= credit_);
  INVARIANT(size + cost <= queued_);
  credit_ -= size + cost;
  queued_ -= size + cost;
  sent_ += size;
  begun_ = true;
  if (last) told_finished_ = true;
  if (whole) drop_first();
}

void OutgoingMessages::drop_first() {
  messages_.pop();
  sent_ = 0;
  begun_ = false;
  INVARIANT(!messages_.empty() || queued_ == 0);
}

}  // namespace sluice::rpc
