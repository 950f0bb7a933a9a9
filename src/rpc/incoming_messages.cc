#include "rpc/incoming_messages.h"

#include <fmt/format.h>

#include "base/require.h"

namespace sluice::rpc {

IncomingMessages::IncomingMessages(std::size_t window) : window_(window), granted_(window) {
  REQUIRE(window >= 2 * kMessageCost);
}

std::expected<bool, std::string> IncomingMessages::on_piece(std::string_view bytes, bool more) {
  if (more && bytes.empty()) return std::unexpected("an empty piece of a message that goes on");
  std::size_t cost = bytes.size() + (begun_ ? 0 : kMessageCost);
  if (cost > granted_ - received_)
    return std::unexpected(fmt::format("{} bytes of messages where {} were granted", cost, granted_ - received_));
  if (bytes.size() > kMessageMax - partial_.size())
    return std::unexpected(fmt::format("a message of more than {} bytes", kMessageMax));
  received_ += cost;
  begun_ = more;
  partial_ += bytes;
  if (more) return false;
  messages_.push(std::move(partial_));
  partial_ = {};
  return true;
}

std::optional<std::string> IncomingMessages::take() {
  if (empty()) return std::nullopt;
  std::string message = messages_.pop();
  taken_ += message.size() + kMessageCost;
  INVARIANT(taken_ <= received_);
  return message;
}

std::optional<std::uint32_t> IncomingMessages::poll_grant() {
  std::size_t assembling = begun_ ? partial_.size() + kMessageCost : 0;
  std::uint64_t wanted = taken_ + assembling + window_;
  // A sender whose credit is gone waits for nothing but its reader: with less than a quarter withheld, it has some.
  if (wanted < granted_ + window_ / 4) return std::nullopt;
  auto more = static_cast<std::uint32_t>(wanted - granted_);
  granted_ = wanted;
  INVARIANT(granted_ - received_ <= window_);
  return more;
}

}  // namespace sluice::rpc
