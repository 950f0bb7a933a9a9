#include "link/link_port.h"

#include <fmt/format.h>

#include "base/require.h"

namespace sluice::link {

LinkPort::LinkPort(net::asio::any_io_executor executor, net::Connection::Parts parts)
    : socket_(std::move(parts)), watch_(executor, socket_.descriptor()), patience_(executor) {
  auto readiness = Readiness::watch(executor, socket_.descriptor(), false);
  // A socket is always supported; without memory for it nothing goes on anyway.
  REQUIRE(readiness.has_value());
  readiness_ = *std::move(readiness);
}

LinkPort::Result<> LinkPort::write(std::span<const std::byte> bytes, const Waiter& waiter) {
  watch_.on_sent(waiter);
  return socket_.write(bytes);
}

LinkPort::Result<> LinkPort::write(std::string_view frame, const Waiter& waiter) {
  return write(std::as_bytes(std::span(frame)), waiter);
}

LinkPort::Result<bool> LinkPort::flushed(const Waiter& waiter) {
  if (socket_.flushed()) return true;
  auto all = socket_.flush();
  if (all && !*all) await_output(waiter);
  return all;
}

void LinkPort::await_trouble(const Waiter& waiter) {
  awaits_trouble_ = true;
  readiness_.await(Readiness::Need::trouble, waiter);
}

LinkPort::Result<> LinkPort::alive(const Waiter& waiter) {
  if (awaits_trouble_ && readiness_.ready(Readiness::Need::trouble)) {
    awaits_trouble_ = false;
    auto error = socket_.pending_error();
    if (error) return std::unexpected(*std::move(error));
  }
  if (watch_.silent(waiter))
    return std::unexpected(fmt::format("the connection to {} broke: no sign of life for {} s", socket_.remote(),
                                       net::kSilenceMax.count()));
  return {};
}

void LinkPort::leave(const Waiter& waiter, Duration patience) {
  patience_.set(patience, waiter);
  socket_.expect(1);
}

bool LinkPort::left(const Waiter& waiter, std::span<std::byte> scratch) {
  auto sent = flushed(waiter);
  if (sent && *sent && !output_shut_) {
    output_shut_ = true;
    socket_.shut_output();
  }
  if (!sent || patience_.take_expired() || !socket_.discard(scratch)) {
    close();
    return true;
  }
  await_input(waiter);
  return false;
}

void LinkPort::reset() {
  readiness_.close();
  watch_.close();
  patience_.cancel();
  socket_.reset();
}

void LinkPort::close() {
  readiness_.close();
  watch_.close();
  patience_.cancel();
  socket_.close();
}

}  // namespace sluice::link
