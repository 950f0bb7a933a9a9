#pragma once
// Messages from many to one coroutine of the same loop, in order. Bounded by its senders: who may send much asks `size`.
// Threading: belongs to one loop.
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "node/condition.h"

namespace sluice::node {

template <class Message>
class Mailbox final {
 public:
  explicit Mailbox(net::asio::any_io_executor executor) : changed_(executor), taken_(executor) {}

  void put(Message message) {
    if (closed_) return;
    messages_.push_back(std::move(message));
    changed_.notify();
  }
  /// What was put before is still taken.
  void close() {
    closed_ = true;
    changed_.notify();
  }
  void clear() { messages_.clear(); }
  bool closed() const { return closed_; }
  bool empty() const { return messages_.empty(); }
  std::size_t size() const { return messages_.size(); }

  /// The oldest message; nothing when it is closed and empty, or at `deadline`.
  net::Awaitable<std::optional<Message>> take(std::optional<TimePoint> deadline = {}) {
    while (messages_.empty() && !closed_ && !(deadline && Clock::now() >= *deadline)) co_await changed_.wait(deadline);
    if (messages_.empty()) co_return std::nullopt;
    std::optional<Message> message(std::move(messages_.front()));
    messages_.pop_front();
    taken_.notify();
    co_return message;
  }
  /// Returns when fewer than `limit` messages wait, or it is closed.
  net::Awaitable<void> wait_for_room(std::size_t limit) {
    while (messages_.size() >= limit && !closed_) co_await taken_.wait();
  }

 private:
  std::deque<Message> messages_;
  Condition changed_;
  Condition taken_;
  bool closed_ = false;
};

}  // namespace sluice::node
