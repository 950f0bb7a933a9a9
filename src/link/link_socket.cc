#include "link/link_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// A session may have this much of a record that is not complete yet: so many bytes less may still be to come.
constexpr std::size_t kRecordMax = std::size_t{17} << 10;
// More than this is never expected at once: the kernel makes room for twice as much.
constexpr std::size_t kExpectedMax = std::size_t{64} << 10;
// What is dropped before the other links of a loop have their turn.
constexpr int kPiecesPerTurn = 16;

}  // namespace

LinkSocket::LinkSocket(net::Connection::Parts parts)
    : socket_(std::move(parts.socket)),
      tls_(std::move(parts.tls)),
      unread_(std::move(parts.unread)),
      remote_(parts.remote.empty() ? "the other side" : std::move(parts.remote)) {
  int flags = ::fcntl(socket_.get(), F_GETFL);
  ::fcntl(socket_.get(), F_SETFL, flags | O_NONBLOCK);  // splice(2) knows no MSG_DONTWAIT
}

std::unexpected<LinkSocket::Broken> LinkSocket::broken(const std::string& why) const {
  return std::unexpected(fmt::format("the connection to {} broke: {}", remote_, why));
}

std::unexpected<LinkSocket::Broken> LinkSocket::broken(int error) const {
  return broken(std::string(::strerror(error)));
}

std::expected<std::size_t, LinkSocket::Broken> LinkSocket::receive(std::span<std::byte> into) {
  return received(::recv(socket_.get(), into.data(), into.size(), MSG_DONTWAIT));
}

// What a call of recv(2)'s kind returned.
std::expected<std::size_t, LinkSocket::Broken> LinkSocket::received(ssize_t got) const {
  if (got > 0) return static_cast<std::size_t>(got);
  if (got == 0) return std::unexpected(fmt::format("{} closed the connection before its last word", remote_));
  if (errno == EAGAIN || errno == EINTR) return 0;
  return broken(errno);
}

std::expected<std::size_t, LinkSocket::Broken> LinkSocket::send(std::span<const std::byte> bytes, int flags) {
  return sent(::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL | flags));
}

// What a call of send(2)'s kind returned.
std::expected<std::size_t, LinkSocket::Broken> LinkSocket::sent(ssize_t put) const {
  if (put >= 0) return static_cast<std::size_t>(put);
  if (errno == EAGAIN || errno == EINTR) return 0;
  return broken(errno);
}

std::size_t LinkSocket::read_unread(std::span<std::byte> into) {
  std::size_t size = std::min(into.size(), unread_.size());
  std::copy_n(unread_.begin(), size, into.begin());
  unread_.erase(unread_.begin(), unread_.begin() + static_cast<std::ptrdiff_t>(size));
  return size;
}

std::expected<std::size_t, LinkSocket::Broken> LinkSocket::read(std::span<std::byte> into) {
  if (!unread_.empty()) return read_unread(into);
  return tls_ ? read_encrypted(into) : receive(into);
}

std::expected<std::size_t, LinkSocket::Broken> LinkSocket::read(std::span<std::byte> first,
                                                                std::span<std::byte> second) {
  if (first.empty()) return read(second);
  if (!tls_ && unread_.empty()) {
    std::array<iovec, 2> rooms{iovec{.iov_base = first.data(), .iov_len = first.size()},
                               iovec{.iov_base = second.data(), .iov_len = second.size()}};
    msghdr message{};
    message.msg_iov = rooms.data();
    message.msg_iovlen = rooms.size();
    return received(::recvmsg(socket_.get(), &message, MSG_DONTWAIT));
  }
  auto got = read(first);
  if (!got || *got < first.size()) return got;
  auto more = read(second);
  return *got + more.value_or(0);  // what broke is found by the next call too
}

std::expected<std::size_t, LinkSocket::Broken> LinkSocket::write_pieces(std::span<const iovec> pieces) {
  REQUIRE(!tls_ && kept_.empty());
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());  // sendmsg(2) changes nothing of it
  message.msg_iovlen = pieces.size();
  return sent(::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

std::expected<std::size_t, LinkSocket::Broken> LinkSocket::read_encrypted(std::span<std::byte> into) {
  while (true) {
    auto got = tls_->read(into);
    if (!got) return broken(got.error().message);
    if (*got > 0) return *got;
    auto received = receive(tls_->cipher_room());
    auto taken = tls_->on_cipher_in_room(received.value_or(0));
    if (!received || *received == 0) return received;
    if (!taken) return broken(taken.error().message);
  }
}

std::expected<void, LinkSocket::Broken> LinkSocket::write(std::span<const std::byte> bytes) {
  if (!tls_) return write_plain(bytes, 0);
  auto encrypted = encrypt(bytes);
  if (!encrypted) return encrypted;
  auto flushed = flush_cipher();
  if (!flushed) return std::unexpected(flushed.error());
  return {};
}

std::expected<void, LinkSocket::Broken> LinkSocket::encrypt(std::span<const std::byte> bytes) {
  REQUIRE(tls_.has_value());
  auto encrypted = tls_->write(bytes);
  if (!encrypted) return broken(encrypted.error().message);
  return {};
}

std::expected<void, LinkSocket::Broken> LinkSocket::write_with_more_to_come(std::span<const std::byte> bytes) {
  REQUIRE(!tls_);
  return write_plain(bytes, MSG_MORE);
}

std::expected<void, LinkSocket::Broken> LinkSocket::write_plain(std::span<const std::byte> bytes, int flags) {
  if (kept_.empty()) {
    auto sent = send(bytes, flags);
    if (!sent) return std::unexpected(sent.error());
    bytes = bytes.subspan(*sent);
  }
  kept_.insert(kept_.end(), bytes.begin(), bytes.end());
  return {};
}

std::expected<bool, LinkSocket::Broken> LinkSocket::flush_cipher() {
  while (!tls_->cipher().empty()) {
    auto sent = send(tls_->cipher(), 0);
    if (!sent) return std::unexpected(sent.error());
    if (*sent == 0) return false;
    tls_->consume_cipher(*sent);
  }
  return true;
}

std::expected<bool, LinkSocket::Broken> LinkSocket::flush() {
  if (tls_) return flush_cipher();
  while (kept_sent_ < kept_.size()) {
    auto sent = send(std::span(kept_).subspan(kept_sent_), 0);
    if (!sent) return std::unexpected(sent.error());
    if (*sent == 0) return false;
    kept_sent_ += *sent;
  }
  kept_sent_ = 0;
  std::vector<std::byte>().swap(kept_);
  return true;
}

bool LinkSocket::flushed() const { return tls_ ? tls_->cipher().empty() : kept_.empty(); }

std::expected<std::size_t, LinkSocket::Broken> LinkSocket::splice_to(int pipe, std::size_t size) {
  REQUIRE(!tls_ && unread_.empty());
  ssize_t got = ::splice(socket_.get(), nullptr, pipe, nullptr, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got > 0) return static_cast<std::size_t>(got);
  if (got == 0) return std::unexpected(fmt::format("{} closed the connection before its last word", remote_));
  if (errno == EAGAIN || errno == EINTR) return 0;
  return broken(errno);
}

std::expected<std::size_t, LinkSocket::Broken> LinkSocket::splice_from(int pipe, std::size_t size) {
  REQUIRE(!tls_ && kept_.empty());
  ssize_t put = ::splice(pipe, nullptr, socket_.get(), nullptr, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (put >= 0) return static_cast<std::size_t>(put);
  if (errno == EAGAIN || errno == EINTR) return 0;
  return broken(errno);
}

void LinkSocket::expect(std::size_t plain_bytes) {
  std::size_t in_session = tls_ ? kRecordMax : 0;
  std::size_t sure = plain_bytes > in_session ? plain_bytes - in_session : 1;
  int low_water = static_cast<int>(std::min(sure, kExpectedMax));
  if (low_water == low_water_) return;
  low_water_ = low_water;
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water);
}

std::optional<LinkSocket::Broken> LinkSocket::pending_error() const {
  pollfd look{.fd = socket_.get(), .events = 0, .revents = 0};
  if (::poll(&look, 1, 0) <= 0 || (look.revents & POLLERR) == 0) return std::nullopt;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return broken(error != 0 ? error : ECONNRESET).error();
}

void LinkSocket::shut_output() { ::shutdown(socket_.get(), SHUT_WR); }

bool LinkSocket::discard(std::span<std::byte> scratch) {
  unread_.clear();
  for (int piece = 0; piece < kPiecesPerTurn; ++piece) {
    ssize_t got = ::recv(socket_.get(), scratch.data(), scratch.size(), MSG_DONTWAIT);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
  }
  return true;
}

void LinkSocket::reset() {
  linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  socket_.reset();
}

}  // namespace sluice::link
