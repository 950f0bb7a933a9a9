#include "net/silence_watch.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <boost/asio/steady_timer.hpp>
#include <utility>

namespace sluice::net {
namespace {

constexpr std::chrono::seconds kLook{3};
constexpr std::chrono::seconds kSilence{12};
constexpr std::chrono::seconds kAnswer{1};  // longer than a round trip around the world

bool all_acknowledged(int socket) {
  int queued = 0;  // bytes that were not sent, or not acknowledged (tcp(7))
  return ::ioctl(socket, SIOCOUTQ, &queued) != 0 || queued == 0;
}

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
  return progress.unacknowledged && progress.acknowledged >= kSilence &&
         progress.acknowledged - progress.sent >= kAnswer;
}

struct SilenceWatch::State {
  asio::steady_timer timer;
  int socket;
  std::function<void()> on_silent;  // empty once it was called, or the owner went
  bool looking = false;

  static void look_later(std::shared_ptr<State> state) {
    state->looking = true;
    state->timer.expires_after(kLook);
    state->timer.async_wait([state](boost::system::error_code) { look(state); });
  }

  static void look(std::shared_ptr<State> state) {
    state->looking = false;
    if (!state->on_silent || all_acknowledged(state->socket)) return;
    if (!is_silent(progress_of(state->socket))) return look_later(state);
    std::exchange(state->on_silent, nullptr)();
  }
};

SilenceWatch::SilenceWatch(asio::any_io_executor executor, int socket, std::function<void()> on_silent)
    : state_(std::make_shared<State>(asio::steady_timer(std::move(executor)), socket, std::move(on_silent))) {}

SilenceWatch::~SilenceWatch() {
  state_->on_silent = nullptr;
  state_->timer.cancel();
}

void SilenceWatch::on_sent() {
  if (!state_->looking) State::look_later(state_);
}

}  // namespace sluice::net
