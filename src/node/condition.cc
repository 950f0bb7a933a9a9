#include "node/condition.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <set>

namespace sluice::node {

namespace asio = net::asio;

struct Condition::State {
  asio::any_io_executor executor;
  std::set<asio::steady_timer*> waiting;  // one of each waiter, since their deadlines differ
};

Condition::Condition(asio::any_io_executor executor)
    : state_(std::make_shared<State>(State{.executor = std::move(executor), .waiting = {}})) {}

Condition::~Condition() { notify(); }

void Condition::notify() {
  for (asio::steady_timer* timer : state_->waiting) timer->cancel();
}

net::Awaitable<void> Condition::wait(std::optional<TimePoint> deadline) {
  auto state = state_;
  asio::steady_timer timer(state->executor, deadline.value_or(TimePoint::max()));
  state->waiting.insert(&timer);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  state->waiting.erase(&timer);
}

}  // namespace sluice::node
