#include "exec/message_socket.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::exec {
namespace {

// SCM_MAX_FD of unix(7) is 253.
constexpr std::size_t kDescriptorsPerMessage = 200;
// An empty frame's worth of bytes must go with descriptors (unix(7)); MessageReader never sees this one.
constexpr char kDescriptorByte = '\0';

}  // namespace

bool MessageSocket::send(std::string_view frame) {
  while (!frame.empty()) {
    ssize_t sent = ::send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    frame.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

std::expected<void, int> MessageSocket::send_descriptors(std::span<const int> descriptors) {
  while (!descriptors.empty()) {
    auto part = descriptors.first(std::min(descriptors.size(), kDescriptorsPerMessage));
    alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsPerMessage * sizeof(int))] = {};
    char byte = kDescriptorByte;
    iovec data{&byte, 1};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(part.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(part.size_bytes());
    std::memcpy(CMSG_DATA(header), part.data(), part.size_bytes());
    ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return std::unexpected(errno);
    descriptors = descriptors.subspan(part.size());
  }
  return {};
}

bool MessageSocket::receive() {
  char buffer[16384];
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
    bool with_descriptors = false;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      with_descriptors = true;
      std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
        descriptors_.emplace_back(fd);
      }
    }
    // The kernel never merges bytes across descriptors that were passed, so the byte that went with them comes first.
    std::size_t skipped = with_descriptors ? 1 : 0;
    received_.append(buffer + skipped, static_cast<std::size_t>(got) - skipped);
  }
}

UniqueFd MessageSocket::take_descriptor() {
  if (descriptors_.empty()) return {};
  UniqueFd taken = std::move(descriptors_.front());
  descriptors_.pop_front();
  return taken;
}

}  // namespace sluice::exec
