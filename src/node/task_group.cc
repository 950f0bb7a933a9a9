#include "node/task_group.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <exception>

#include "base/time.h"

namespace sluice::node {

namespace asio = net::asio;

struct TaskGroup::State {
  State(asio::any_io_executor to, Logger& to_log) : executor(to), idle(to), log(to_log) {
    idle.expires_at(TimePoint::max());
  }
  asio::any_io_executor executor;
  asio::steady_timer idle;  // cancelled when the last one has ended
  Logger& log;
  std::size_t running = 0;
};

TaskGroup::TaskGroup(asio::any_io_executor executor, Logger& log)
    : state_(std::make_shared<State>(std::move(executor), log)) {}

TaskGroup::~TaskGroup() = default;

void TaskGroup::spawn(net::Awaitable<void> task) {
  ++state_->running;
  asio::co_spawn(state_->executor, std::move(task), [state = state_](std::exception_ptr failure) {
    if (failure) {
      try {
        std::rethrow_exception(failure);
      } catch (const std::exception& error) {
        state->log.error("bug: an exception left a coroutine", {{"what", error.what()}});
      } catch (...) {
        state->log.error("bug: an exception left a coroutine");
      }
      std::abort();
    }
    if (--state->running == 0) state->idle.cancel();
  });
}

std::size_t TaskGroup::running() const { return state_->running; }

net::Awaitable<void> TaskGroup::wait() {
  auto state = state_;
  while (state->running > 0) co_await state->idle.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace sluice::node
