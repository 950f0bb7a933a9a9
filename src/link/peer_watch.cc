#include "link/peer_watch.h"

#include "net/tcp_options.h"

namespace sluice::link {

PeerWatch::PeerWatch(net::asio::any_io_executor executor, int socket)
    : socket_(socket), watches_(net::is_tcp(socket)), alarm_(std::move(executor)) {
  if (!watches_) return;
  net::set_keepalive(socket);
  net::set_no_delay(socket);  // what belongs together is sent together
}

void PeerWatch::on_sent(const std::shared_ptr<LoopWaiter>& waiter) {
  if (watches_ && !alarm_.armed()) alarm_.set(net::kLookInterval, waiter);
}

bool PeerWatch::silent(const std::shared_ptr<LoopWaiter>& waiter) {
  if (!alarm_.take_expired()) return false;
  auto signs = net::peer_signs(socket_);
  if (!signs) return false;
  if (judge_.on_look(*signs, Clock::now())) return true;
  if (signs->outstanding) alarm_.set(net::kLookInterval, waiter);
  return false;
}

}  // namespace sluice::link
