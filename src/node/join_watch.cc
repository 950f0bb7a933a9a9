#include "node/join_watch.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "net/connection.h"
#include "rpc/channel.h"

namespace sluice::node {

namespace asio = net::asio;
using net::Awaitable;
using net::NetErrorKind;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
// Several tries of membership: one that is there has answered by then.
constexpr std::chrono::seconds kPatience{2};
constexpr std::chrono::seconds kDialTime{3};
constexpr std::chrono::minutes kRepeatMin{1};
constexpr std::chrono::hours kRepeatMax{1};

std::string reason_of(const net::NetError& error) {
  switch (error.kind) {
    case NetErrorKind::refused:
      return "refused: no node listens there";
    case NetErrorKind::timed_out:
      return "no answer; is the address right, and are its TCP and UDP ports open?";
    case NetErrorKind::wrong_key:
      return "wrong key: " + error.message;
    default:
      return error.message;
  }
}

}  // namespace

struct JoinWatch::Impl {
  Impl(asio::any_io_executor executor, Options to_options, Logger& to_log)
      : options(std::move(to_options)), log(to_log), timer(std::move(executor)) {}

  static Awaitable<void> run(std::shared_ptr<Impl> self) {
    Duration wait = kPatience;
    Duration repeat = kRepeatMin;
    while (!self->closed) {
      self->timer.expires_after(wait);
      co_await self->timer.async_wait(kTuple);
      if (self->closed) co_return;
      wait = repeat;
      if (!self->options.alone()) continue;
      co_await look_into(self);
      repeat = std::min<Duration>(2 * repeat, kRepeatMax);
    }
  }

  static Awaitable<void> look_into(std::shared_ptr<Impl> self) {
    for (const net::HostPort& join : self->options.joins) {
      auto problem = co_await try_to_reach(self, join);
      if (self->closed || !self->options.alone()) co_return;
      if (!problem) continue;
      self->told = true;
      self->log.warn("not joined, will go on trying", {{"node", net::to_text(join)}, {"reason", *problem}});
    }
  }

  // Nothing if the address is our own: the same line on every host names one of them.
  static Awaitable<std::optional<std::string>> try_to_reach(std::shared_ptr<Impl> self, net::HostPort join) {
    TimePoint deadline = Clock::now() + kDialTime;
    net::DialOptions dial{.deadline = deadline, .tls = self->options.tls(), .expected = std::nullopt};
    auto connection = co_await net::dial(std::move(join), std::move(dial));
    if (!connection) co_return reason_of(connection.error());
    bool ourselves = (*connection)->peer().node == self->options.self;
    // Whether it takes our certificate is known with its first answer only.
    auto channel = co_await rpc::Channel::open(std::move(*connection), deadline);
    if (!channel) co_return reason_of(channel.error());
    if (ourselves) co_return std::nullopt;
    co_return "it takes connections, but no datagram comes back; is UDP open in both directions, and --advertise "
              "right?";
  }

  Options options;
  Logger& log;
  asio::steady_timer timer;
  bool told = false;
  bool closed = false;
};

JoinWatch::JoinWatch(asio::any_io_executor executor, TaskGroup& tasks, Options options, Logger& log)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(options), log)) {
  if (!impl_->options.joins.empty()) tasks.spawn(Impl::run(impl_));
}

JoinWatch::~JoinWatch() = default;

// Who joined whom is told by its own line; this one ends what was warned of.
void JoinWatch::on_joined() {
  if (std::exchange(impl_->told, false)) impl_->log.info("joined after all");
}

void JoinWatch::close() {
  impl_->closed = true;
  impl_->timer.cancel();
}

}  // namespace sluice::node
