#include "net/socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>

namespace sluice::net {
namespace {

constexpr int kPiecesDropped = 64;  // of 16 KiB; a peer that sends on and on gets its reset

void drop_unread(int fd) {
  std::array<std::byte, std::size_t{16} << 10> into;
  for (int piece = 0; piece < kPiecesDropped; ++piece)
    if (::recv(fd, into.data(), into.size(), MSG_DONTWAIT) <= 0) return;
}

std::expected<std::optional<std::size_t>, int> outcome(ssize_t moved) {
  if (moved >= 0) return static_cast<std::size_t>(moved);
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return std::nullopt;
  return std::unexpected(errno);
}

}  // namespace

struct Socket::Impl {
  asio::posix::stream_descriptor descriptor;

  Awaitable<std::expected<void, NetError>> wait(asio::posix::descriptor_base::wait_type what) {
    auto [error] = co_await descriptor.async_wait(what, asio::as_tuple(asio::use_awaitable));
    // The socket may be gone by now.
    if (error) co_return std::unexpected(NetError{NetErrorKind::cancelled, "we ended the connection"});
    co_return std::expected<void, NetError>{};
  }
};

Socket::Socket(asio::any_io_executor executor, UniqueFd fd)
    : impl_(std::make_unique<Impl>(asio::posix::stream_descriptor(std::move(executor)))) {
  int flags = ::fcntl(fd.get(), F_GETFL);
  ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK);
  boost::system::error_code error;
  impl_->descriptor.assign(fd.get(), error);
  if (!error) fd.release();  // else it is closed, and every use of it says so
}

Socket::~Socket() {
  if (impl_) close();
}
Socket::Socket(Socket&&) noexcept = default;
Socket& Socket::operator=(Socket&&) noexcept = default;

int Socket::fd() const { return impl_->descriptor.is_open() ? impl_->descriptor.native_handle() : -1; }

std::expected<std::optional<std::size_t>, int> Socket::receive(std::span<std::byte> into) {
  return outcome(::recv(fd(), into.data(), into.size(), MSG_DONTWAIT));
}

std::expected<std::optional<std::size_t>, int> Socket::send(std::span<const std::byte> bytes) {
  return outcome(::send(fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
}

Awaitable<std::expected<void, NetError>> Socket::readable() {
  return impl_->wait(asio::posix::descriptor_base::wait_read);
}

Awaitable<std::expected<void, NetError>> Socket::writable() {
  return impl_->wait(asio::posix::descriptor_base::wait_write);
}

void Socket::cancel() {
  boost::system::error_code ignored;
  impl_->descriptor.cancel(ignored);
}

void Socket::close() {
  if (fd() < 0) return;
  ::shutdown(fd(), SHUT_WR);
  drop_unread(fd());
  boost::system::error_code ignored;
  impl_->descriptor.close(ignored);
}

UniqueFd Socket::release() { return UniqueFd(impl_->descriptor.release()); }

}  // namespace sluice::net
