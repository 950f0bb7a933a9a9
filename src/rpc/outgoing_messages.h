#pragma once
// The messages of one call that wait to be sent, and the credit that says how many bytes of them may be sent.
//
// A message costs its size and kMessageCost. It is cut into frames no larger than kPieceMax, so that calls take turns on
// the connection, nor than the credit.
// Invariant: what was sent never costs more than what was granted, the initial window included.
// Threading: none of its own; it belongs to its call.
#include <cstddef>
#include <cstdint>
#include <string>

#include "rpc/call_frame.h"
#include "rpc/message_queue.h"

namespace sluice::rpc {

/// The largest payload of a message frame that we send.
inline constexpr std::size_t kPieceMax = std::size_t{32} << 10;

/// More credit than this at once is a sign of a broken peer: our receivers never grant so much.
inline constexpr std::uint64_t kCreditMax = (std::uint64_t{1} << 31) - 1;

class OutgoingMessages final {
 public:
  /// Requires: a window that has room for the cost of two messages.
  explicit OutgoingMessages(std::size_t window);

  /// Requires: at most kMessageMax bytes, and no `finish` before.
  void add(std::string message);
  /// No message follows; the peer is told.
  void finish();
  /// False if the credit would exceed kCreditMax: nothing has changed then.
  [[nodiscard]] bool grant(std::uint64_t bytes);

  /// Whether `poll_frame` has something to give.
  bool ready() const;
  /// Appends one frame. Requires: ready.
  void poll_frame(std::string& into, StreamId stream);

  /// Bytes that wait, with their cost.
  std::size_t queued() const { return queued_; }
  bool empty() const { return messages_.empty(); }
  bool finished() const { return finished_; }
  std::uint64_t credit() const { return credit_; }

 private:
  void poll_piece(std::string& into, StreamId stream);
  void drop_first();

  MessageQueue messages_;  // not sent in full
  std::size_t sent_ = 0;   // bytes of the first
  bool begun_ = false;     // the cost of the first was paid
  std::size_t queued_ = 0;
  std::uint64_t credit_ = 0;
  bool finished_ = false;
  bool told_finished_ = false;
};

}  // namespace sluice::rpc
