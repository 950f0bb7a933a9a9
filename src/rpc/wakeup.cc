#include "rpc/wakeup.h"

#include <algorithm>
#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace sluice::rpc {

namespace asio = boost::asio;

struct Wakeup::Waiter {
  std::uint64_t number = 0;
  asio::any_io_executor executor;
  asio::any_completion_handler<void(bool)> handler;

  void resume(bool notified) {
    asio::post(executor, [handler = std::move(handler), notified]() mutable { std::move(handler)(notified); });
  }
};

Wakeup::Wakeup() = default;
Wakeup::~Wakeup() = default;

void Wakeup::start(Waiter waiter) {
  waiter.number = ++started_;
  auto slot = asio::get_associated_cancellation_slot(waiter.handler);
  // Found again by its number: a second cancellation may come before the coroutine runs and takes its slot back.
  if (slot.is_connected()) slot.assign([this, number = waiter.number](asio::cancellation_type) { cancel(number); });
  waiters_.push_back(std::move(waiter));
}

void Wakeup::cancel(std::uint64_t number) {
  auto found = std::ranges::find(waiters_, number, &Waiter::number);
  if (found == waiters_.end()) return;
  Waiter waiter = std::move(*found);
  waiters_.erase(found);
  waiter.resume(false);
}

net::Awaitable<bool> Wakeup::wait() {
  auto executor = co_await asio::this_coro::executor;
  // Named, because g++ 12 copies a temporary with captures wrongly within a co_await.
  auto initiation = [this, executor](auto handler) { start({0, executor, std::move(handler)}); };
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(bool)>(std::move(initiation),
                                                                                     asio::use_awaitable);
}

void Wakeup::notify() {
  while (!waiters_.empty()) {
    Waiter waiter = std::move(waiters_.front());
    waiters_.pop_front();
    asio::get_associated_cancellation_slot(waiter.handler).clear();
    waiter.resume(true);
  }
}

}  // namespace sluice::rpc
