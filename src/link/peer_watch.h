#pragma once
// Looks at the signs of life of a connection's other host (net/peer_signs.h) on a loop, while bytes are on their way to it.
// Threading: belongs to the loop of its executor.
#include <memory>

#include "link/readiness.h"
#include "net/peer_signs.h"

namespace sluice::link {

class PeerWatch final {
 public:
  PeerWatch(net::asio::any_io_executor executor, int socket);

  /// Bytes were given to the kernel: looks from now on, until nothing is outstanding. An idle link has no timer.
  void on_sent(const std::shared_ptr<LoopWaiter>& waiter);
  /// To be asked when the waiter is told. True: the other host is gone.
  bool silent(const std::shared_ptr<LoopWaiter>& waiter);
  void close() { alarm_.cancel(); }

 private:
  int socket_;
  bool watches_;
  Alarm alarm_;
  net::SilenceJudge judge_;
};

}  // namespace sluice::link
