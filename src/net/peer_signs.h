#pragma once
// Signs of life of the host at the other end of a TCP connection, and the judgement whether it is gone.
//
// While a connection is idle the kernel's keepalive does it (tcp(7)). With bytes on their way keepalive keeps silent, and
// the kernel would go on sending for a quarter of an hour. TCP_USER_TIMEOUT would end that, but it also ends a connection
// whose window has been closed for that long, as it is when the reader was stopped with Ctrl-Z (seen on Linux 6.18). The
// time since the last acknowledgement says nothing then either: probes of a closed window come two minutes apart in the
// end. What tells is whether any segment at all arrives: the kernel at the other end sends one every 5 s if keepalive is
// set there too, even if its process is stopped. Every end that speaks sluice/1 sets it; a foreign HTTP client may not.
// Threading: pure, but for the functions that ask the kernel about a socket.
#include <chrono>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace sluice::net {

inline constexpr std::chrono::seconds kLookInterval{3};
/// Seen at the next look, so at most 15 s after the last sign of life, or 3 s after bytes were sent if that is later.
inline constexpr std::chrono::seconds kSilenceMax{12};

/// What the kernel knows of a connection.
struct PeerSigns {
  bool outstanding = false;                  // bytes that the other host has not acknowledged, or has no room for
  std::uint32_t segments_received = 0;       // of any kind, ever
  std::chrono::milliseconds acknowledged{};  // since its last acknowledgement, of a probe too
};

/// For a connection whose other end sets keepalive as well. Silence counts from before bytes were outstanding: until then
/// our own keepalive asked for an acknowledgement every 5 s.
class SilenceJudge final {
 public:
  /// Looks at `now`: the other host has been silent for too long.
  bool on_look(const PeerSigns& signs, TimePoint now);

 private:
  std::optional<std::uint32_t> segments_;  // at the last sign of life; none while nothing is outstanding
  TimePoint last_sign_;
};

/// False: the peer of another socket is on this host, and nothing has to be watched.
bool is_tcp(int socket);
/// Of a TCP socket. Nothing: this kernel does not tell.
std::optional<PeerSigns> peer_signs(int socket);

}  // namespace sluice::net
