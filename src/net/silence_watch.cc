#include "net/silence_watch.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/steady_timer.hpp>
#include <optional>
#include <utility>

#include "net/peer_signs.h"

namespace sluice::net {
namespace {

constexpr std::chrono::seconds kAnswer{1};  // longer than a round trip around the world

TcpProgress progress_of(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return {};
  return {.unacknowledged = info.tcpi_unacked > 0,
          .acknowledged = std::chrono::milliseconds(info.tcpi_last_ack_recv),
          .sent = std::chrono::milliseconds(info.tcpi_last_data_sent)};
}

}  // namespace

bool is_silent(const TcpProgress& progress) {
  return progress.unacknowledged && progress.acknowledged >= kSilenceMax &&
         progress.acknowledged - progress.sent >= kAnswer;
}

struct SilenceWatch::State {
  asio::steady_timer timer;
  int socket;
  std::optional<SilenceJudge> judge = std::nullopt;  // of a peer with keepalive
  std::function<void()> on_silent = nullptr;         // empty once it was called, or the owner went
  bool looking = false;

  static void look_later(std::shared_ptr<State> state) {
    state->looking = true;
    state->timer.expires_after(kLookInterval);
    state->timer.async_wait([state](boost::system::error_code) { look(state); });
  }

  static void look(std::shared_ptr<State> state) {
    state->looking = false;
    if (!state->on_silent) return;
    auto signs = peer_signs(state->socket);
    bool silent = signs && state->is_silent_by(*signs);
    if (silent) return std::exchange(state->on_silent, nullptr)();
    if (signs && signs->outstanding) look_later(state);
  }

  bool is_silent_by(const PeerSigns& signs) {
    if (judge) return judge->on_look(signs, Clock::now());
    return signs.outstanding && is_silent(progress_of(socket));
  }
};

SilenceWatch::SilenceWatch(asio::any_io_executor executor, int socket, Keepalive keepalive,
                           std::function<void()> on_silent)
    : state_(std::make_shared<State>(asio::steady_timer(std::move(executor)), socket)) {
  state_->on_silent = std::move(on_silent);
  if (keepalive == Keepalive::of_both) state_->judge.emplace();
}

SilenceWatch::~SilenceWatch() {
  state_->on_silent = nullptr;
  state_->timer.cancel();
}

void SilenceWatch::on_sent() {
  if (!state_->looking) State::look_later(state_);
}

}  // namespace sluice::net
