#pragma once
// Notices a peer that has gone while bytes are on their way to it.
//
// TCP's keepalive looks only at idle connections, so we look ourselves, and only while something is unacknowledged or
// unsent; an idle connection has no timer. Where both ends set keepalive, any segment is a sign of life (peer_signs.h). A
// foreign client may not have set it: a stopped one with a closed window is then as silent as one that is gone, so only
// bytes that were sent to it and not acknowledged count, and one whose host vanishes in that state is noticed by the kernel
// after a quarter of an hour. Keepalive must be on at our end: thanks to it the last acknowledgement is at most 5 s old
// when bytes are sent after a long silence.
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

/// Who sees to it that an idle connection is asked for a sign of life.
enum class Keepalive { ours, of_both };

/// A living peer answers each repetition within a round trip, even if it only says that it has no room.
bool is_silent(const TcpProgress& progress);

class SilenceWatch final {
 public:
  /// `on_silent` is called once, between 12 and 15 s after the peer's last sign, or 3 s after bytes were sent if that is later.
  SilenceWatch(asio::any_io_executor executor, int socket, Keepalive keepalive, std::function<void()> on_silent);
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
