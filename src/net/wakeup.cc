#include "net/wakeup.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::net {

struct Wakeup::Impl {
  asio::steady_timer timer;
};

Wakeup::Wakeup(asio::any_io_executor executor) : impl_(std::make_unique<Impl>(asio::steady_timer(executor))) {}
Wakeup::~Wakeup() = default;

Awaitable<void> Wakeup::wait_until(TimePoint at) {
  impl_->timer.expires_at(at);
  co_await impl_->timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

void Wakeup::wake() { impl_->timer.cancel(); }

}  // namespace sluice::net
