#include "net/alarm.h"

#include <boost/asio/steady_timer.hpp>
#include <utility>

namespace sluice::net {

struct Alarm::State {
  asio::steady_timer timer;
  std::function<void()> ring;  // empty once it rang, or its owner went
  bool rang = false;
};

Alarm::Alarm(asio::any_io_executor executor, TimePoint at, std::function<void()> ring)
    : state_(std::make_shared<State>(asio::steady_timer(std::move(executor), at), std::move(ring))) {
  state_->timer.async_wait([state = state_](boost::system::error_code) {
    if (!state->ring) return;
    state->rang = true;
    std::exchange(state->ring, nullptr)();
  });
}

Alarm::~Alarm() {
  state_->ring = nullptr;
  state_->timer.cancel();
}

bool Alarm::rang() const { return state_->rang; }

}  // namespace sluice::net
