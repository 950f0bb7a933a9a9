#include "link/peer_watch.h"

namespace sluice::link {

PeerWatch::PeerWatch(net::asio::any_io_executor executor, int socket)
    : socket_(socket), watches_(set_up_peer_signs(socket)), alarm_(std::move(executor)) {}

void PeerWatch::on_sent(const std::shared_ptr<LoopWaiter>& waiter) {
  if (watches_ && !alarm_.armed()) alarm_.set(kLookInterval, waiter);
}

bool PeerWatch::silent(const std::shared_ptr<LoopWaiter>& waiter) {
  if (!alarm_.take_expired()) return false;
  auto signs = peer_signs(socket_);
  if (!signs) return false;
  if (judge_.on_look(*signs, Clock::now())) return true;
  if (signs->outstanding) alarm_.set(kLookInterval, waiter);
  return false;
}

}  // namespace sluice::link
