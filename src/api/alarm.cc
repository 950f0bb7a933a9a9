#include "api/alarm.h"

#include <boost/asio/steady_timer.hpp>
#include <utility>

namespace sluice::api {

struct Alarm::State {
  State(net::asio::any_io_executor executor, rpc::Wakeup& to_notify, TimePoint at)
      : timer(std::move(executor), at), wakeup(&to_notify) {}

  net::asio::steady_timer timer;
  rpc::Wakeup* wakeup;  // null once the owner is done
  bool rang = false;
};

Alarm::Alarm(net::asio::any_io_executor executor, rpc::Wakeup& wakeup, TimePoint at)
    : state_(std::make_shared<State>(std::move(executor), wakeup, at)) {
  state_->timer.async_wait([state = state_](boost::system::error_code error) {
    if (error || state->wakeup == nullptr) return;
    state->rang = true;
    state->wakeup->notify();
  });
}

Alarm::~Alarm() {
  state_->wakeup = nullptr;
  state_->timer.cancel();
}

bool Alarm::rang() const { return state_->rang; }

}  // namespace sluice::api
