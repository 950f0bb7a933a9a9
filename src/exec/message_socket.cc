#include "exec/message_socket.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::exec {
namespace {

// SCM_MAX_FD of unix(7) is 253.
constexpr std::size_t kDescriptorsPerMessage = 200;
constexpr std::size_t kReceiveBuffer = 16384;

}  // namespace

std::expected<std::size_t, int> MessageSocket::send_part(std::string_view bytes,
                                                         std::span<const int> descriptors) const {
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsPerMessage * sizeof(int))];
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};  // sendmsg(2) changes none
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    std::memset(control, 0, sizeof control);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  int flags = MSG_NOSIGNAL | (sending_ == Sending::queues ? MSG_DONTWAIT : 0);
  while (true) {
    ssize_t sent = ::sendmsg(socket_.get(), &message, flags);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    if (errno != EINTR) return std::unexpected(errno);
  }
}

// The copies live until the kernel has taken them: the caller may close its own as soon as we return.
std::expected<void, int> MessageSocket::queue(std::string_view bytes, std::span<const int> descriptors) {
  Unsent unsent{.descriptors = {}, .bytes = std::string(bytes)};
  for (int descriptor : descriptors) {
    UniqueFd copy(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
    if (!copy) return std::unexpected(errno);
    unsent.descriptors.push_back(std::move(copy));
  }
  unsent_bytes_ += bytes.size();
  unsent_.push_back(std::move(unsent));
  return {};
}

std::expected<void, int> MessageSocket::put(std::string_view bytes, std::span<const int> descriptors) {
  while (!bytes.empty()) {
    if (!unsent_.empty()) return queue(bytes, descriptors);
    auto sent = send_part(bytes, descriptors);
    if (!sent) return std::unexpected(sent.error());
    if (*sent == 0) return queue(bytes, descriptors);
    bytes.remove_prefix(*sent);
    descriptors = {};
  }
  return {};
}

std::expected<void, int> MessageSocket::send_with(std::string_view frame, std::span<const int> descriptors) {
  while (descriptors.size() > kDescriptorsPerMessage) {
    if (auto sent = put(descriptor_frame(), descriptors.first(kDescriptorsPerMessage)); !sent) return sent;
    descriptors = descriptors.subspan(kDescriptorsPerMessage);
  }
  if (descriptors.empty()) return put(frame, {});
  // The last ones travel with the frame itself: one system call for a launch of a few programs.
  std::string with_frame(descriptor_frame());
  with_frame.append(frame);
  return put(with_frame, descriptors);
}

bool MessageSocket::flush() {
  while (!unsent_.empty()) {
    Unsent& first = unsent_.front();
    std::vector<int> descriptors;
    for (const UniqueFd& descriptor : first.descriptors) descriptors.push_back(descriptor.get());
    auto sent = send_part(first.bytes, descriptors);
    if (!sent) return false;
    if (*sent == 0) return true;
    first.descriptors.clear();
    first.bytes.erase(0, *sent);
    unsent_bytes_ -= *sent;
    if (first.bytes.empty()) unsent_.pop_front();
  }
  return true;
}

bool MessageSocket::receive() {
  char buffer[kReceiveBuffer];
  alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsPerMessage * sizeof(int))];
  while (true) {
    iovec data{buffer, sizeof buffer};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t got = ::recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    if (got == 0) return false;
    take_ancillary(&message);
    received_.append(buffer, static_cast<std::size_t>(got));
    // Less than was asked for is all that there was, unless descriptors have ended the read (unix(7)).
    if (static_cast<std::size_t>(got) < sizeof buffer && message.msg_controllen == 0) return true;
  }
}

void MessageSocket::take_ancillary(const void* received) {
  msghdr message = *static_cast<const msghdr*>(received);
  if ((message.msg_flags & MSG_CTRUNC) != 0) descriptors_lost_ = true;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      descriptors_.emplace_back(fd);
    }
  }
}

UniqueFd MessageSocket::take_descriptor() {
  if (descriptors_lost_ || descriptors_.empty()) return {};
  UniqueFd taken = std::move(descriptors_.front());
  descriptors_.pop_front();
  return taken;
}

void MessageSocket::drop_descriptors() {
  descriptors_.clear();
  descriptors_lost_ = false;
}

}  // namespace sluice::exec
