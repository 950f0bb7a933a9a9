#include "net/peer_signs.h"

#include <linux/sockios.h>
#include <linux/tcp.h>  // the C library's tcp_info ends before the segments
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstddef>

namespace sluice::net {

bool is_tcp(int socket) {
  int protocol = 0;
  socklen_t size = sizeof protocol;
  return ::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == IPPROTO_TCP;
}

std::optional<PeerSigns> peer_signs(int socket) {
  int queued = 0;
  if (::ioctl(socket, SIOCOUTQ, &queued) != 0) return std::nullopt;
  if (queued == 0) return PeerSigns{};
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  if (size < offsetof(tcp_info, tcpi_segs_in) + sizeof info.tcpi_segs_in) return std::nullopt;
  return PeerSigns{.outstanding = true,
                   .segments_received = info.tcpi_segs_in,
                   .acknowledged = std::chrono::milliseconds(info.tcpi_last_ack_recv)};
}

bool SilenceJudge::on_look(const PeerSigns& signs, TimePoint now) {
  if (!signs.outstanding) {
    segments_.reset();
    return false;
  }
  if (!segments_) {
    last_sign_ = now - signs.acknowledged;
  } else if (segments_ != signs.segments_received) {
    last_sign_ = now;
  }
  segments_ = signs.segments_received;
  return now - last_sign_ >= kSilenceMax;
}

}  // namespace sluice::net
