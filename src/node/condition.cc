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

namespace {

// Taken away however the wait ends: in a coroutine that was cancelled, Asio throws.
class Registration final {
 public:
  Registration(std::set<asio::steady_timer*>& waiting, asio::steady_timer& timer) : waiting_(waiting), timer_(timer) {
    waiting_.insert(&timer_);
  }
  ~Registration() { waiting_.erase(&timer_); }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  std::set<asio::steady_timer*>& waiting_;
  asio::steady_timer& timer_;
};

}  // namespace

net::Awaitable<void> Condition::wait(std::optional<TimePoint> deadline) {
  auto state = state_;
  asio::steady_timer timer(state->executor, deadline.value_or(TimePoint::max()));
  Registration registration(state->waiting, timer);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace sluice::node
