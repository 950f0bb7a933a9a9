#include "net/patience.h"

#include <boost/asio/steady_timer.hpp>

namespace sluice::net {

struct Patience::State {
  State(asio::any_io_executor executor, Connection& to_close, TimePoint deadline)
      : timer(std::move(executor), deadline), connection(&to_close) {}
  asio::steady_timer timer;
  Connection* connection;  // null once the owner is done
  bool ended = false;
};

Patience::Patience(asio::any_io_executor executor, Connection& connection, TimePoint deadline)
    : state_(std::make_shared<State>(std::move(executor), connection, deadline)) {
  state_->timer.async_wait([state = state_](boost::system::error_code error) {
    if (error || state->connection == nullptr) return;
    state->ended = true;
    state->connection->close();
  });
}

Patience::~Patience() {
  state_->connection = nullptr;
  state_->timer.cancel();
}

bool Patience::ended() const { return state_->ended; }

}  // namespace sluice::net
