#pragma once
// Notices a peer that has gone while bytes are on their way to it.
//
// TCP's keepalive looks only at idle connections: with unacknowledged data the kernel goes on sending for a quarter of an
// hour. TCP_USER_TIMEOUT would end that sooner, but it also ends a connection whose reader takes its time with a full
// window: a program stopped with Ctrl-Z would lose its connection after 15 s (seen on Linux 6.18). So we look ourselves,
// and only while something is unacknowledged; an idle connection has no timer. Keepalive must be on: thanks to it the last
// acknowledgement is at most 5 s old when bytes are sent after a long silence.
// Threading: belongs to the loop of its connection.
#include <chrono>
#include <functional>
#include <memory>

#include "net/async.h"

namespace sluice::net {

/// What TCP says of its other end.
struct TcpProgress {
  bool unacknowledged = false;  // bytes were sent that it has not acknowledged; not those it has no room for
  std::chrono::milliseconds acknowledged{};  // since its last acknowledgement of anything
  std::chrono::milliseconds sent{};          // since we sent anything, repetitions included
};

/// A living peer answers each repetition within a round trip, even if it only says that it has no room.
bool is_silent(const TcpProgress& progress);

class SilenceWatch final {
 public:
  /// `on_silent` is called once, between 12 and 15 s after the peer's last sign.
  SilenceWatch(asio::any_io_executor executor, int socket, std::function<void()> on_silent);
  ~SilenceWatch();
  SilenceWatch(const SilenceWatch&) = delete;
  SilenceWatch& operator=(const SilenceWatch&) = delete;

  /// Bytes were given to the kernel.
  void on_sent();

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with the timer's handler
};

}  // namespace sluice::net
