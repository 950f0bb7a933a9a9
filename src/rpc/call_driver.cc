#include "rpc/call_driver.h"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/require.h"

namespace sluice::rpc {

namespace asio = boost::asio;

namespace {

// A hundred small calls fit, and an idle connection costs little.
constexpr std::size_t kReadSize = std::size_t{16} << 10;
// What a buffer for writing keeps when there is nothing to write.
constexpr std::size_t kBufferKept = std::size_t{16} << 10;
constexpr std::chrono::seconds kFarewellTime{1};

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

struct CallDriver::Timer {
  explicit Timer(const asio::any_io_executor& executor) : timer(executor) {}
  asio::steady_timer timer;
  std::optional<TimePoint> armed;  // when it will fire
};

CallDriver::CallDriver(std::shared_ptr<net::Connection> connection, MultiplexerOptions options, OnStarted on_started)
    : connection_(std::move(connection)), options_(options), on_started_(std::move(on_started)), calls_(options) {}

CallDriver::~CallDriver() = default;

net::Awaitable<net::NetError> CallDriver::run(std::shared_ptr<CallDriver> self) {
  using namespace asio::experimental::awaitable_operators;
  REQUIRE(self->timer_ == nullptr);
  auto executor = co_await asio::this_coro::executor;
  self->timer_ = std::make_unique<Timer>(executor);
  // A loop that is destroyed in the middle destroys this coroutine: whoever waits for a call must not be kept by it.
  struct EndWithUs {
    CallDriver& driver;
    ~EndWithUs() { driver.close(); }
  } end_with_us{*self};
  self->pump();  // calls may have been started before
  co_await (self->read_until_end() && self->write_until_end());
  INVARIANT(self->ended_.has_value());
  co_return *self->ended_;
}

net::Awaitable<void> CallDriver::read_until_end() {
  std::vector<std::byte> buffer(kReadSize);
  while (!ended_) {
    auto size = co_await connection_->read_some(buffer);
    if (ended_) break;
    if (size && hung_up_) continue;
    if (!size) {
      end(std::move(size.error()));
      break;
    }
    auto taken = calls_.on_bytes(as_text(std::span(buffer).first(*size)), Clock::now());
    if (!taken) {
      end({net::NetErrorKind::protocol, std::move(taken.error().message)});
      break;
    }
    pump();
  }
}

net::Awaitable<void> CallDriver::write_until_end() {
  std::string batch;
  while (!ended_) {
    batch.clear();
    calls_.poll_transmit(batch);
    deliver_events();
    if (batch.empty()) {
      if (batch.capacity() > kBufferKept) batch = {};
      if (hung_up_) {
        close();
        continue;
      }
      bool notified = co_await transmits_.wait();
      if (!notified) close();
      continue;
    }
    auto written = co_await connection_->write(std::as_bytes(std::span(batch)));
    if (!written) end(std::move(written.error()));
  }
}

void CallDriver::close() { end({net::NetErrorKind::cancelled, "the connection was closed"}); }

void CallDriver::hang_up(const Status& reason) {
  if (ended_ || hung_up_) return;
  if (!timer_) return close();
  hung_up_ = true;
  calls_.end_all(reason);
  // No call is left whose deadline it could be needed for. A peer that does not read must not keep the connection.
  timer_->timer.expires_after(kFarewellTime);
  timer_->timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error) self->close();
  });
  deliver_events();
  transmits_.notify();
}

void CallDriver::end(net::NetError reason) {
  if (ended_) return;
  bool server = options_.side == Side::server;
  bool says_it = reason.kind == net::NetErrorKind::cut;
  std::string message = says_it ? reason.message : "the connection has ended: " + reason.message;
  calls_.on_lost({server ? Code::cancelled : Code::unavailable, std::move(message)});
  ended_ = std::move(reason);
  connection_->close();
  if (timer_) timer_->timer.cancel();
  transmits_.notify();
  deliver_events();
}

void CallDriver::pump() {
  deliver_events();
  if (ended_) return;
  if (calls_.transmits()) transmits_.notify();
  arm();
}

// A handler that starts within this may come back here; the loop that is under way takes its events along.
void CallDriver::deliver_events() {
  if (delivering_) return;
  delivering_ = true;
  while (auto event = calls_.poll_event()) deliver(*event);
  delivering_ = false;
}

void CallDriver::deliver(CallEvent event) {
  if (event.kind == CallEvent::Kind::started) return on_started_(event.stream);
  auto found = waiters_.find(event.stream);
  if (found == waiters_.end()) return;
  CallWaiters& waiters = *found->second;
  bool over = event.kind == CallEvent::Kind::over;
  if (over) waiters.over.notify();  // first: of a handler's `cancelled() || read()` the former is to win
  if (over || event.kind == CallEvent::Kind::readable) waiters.readable.notify();
  if (over || event.kind == CallEvent::Kind::writable) waiters.writable.notify();
}

// A timer that fires too early costs less than one that is set anew for every call: most end long before their deadline.
void CallDriver::arm() {
  auto deadline = calls_.poll_deadline();
  if (!timer_ || !deadline || (timer_->armed && *timer_->armed <= *deadline)) return;
  timer_->armed = *deadline;
  timer_->timer.expires_at(*deadline);  // what waited for a later time is cancelled
  timer_->timer.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error || self->ended_) return;
    self->timer_->armed.reset();
    self->calls_.on_deadline(Clock::now());
    self->pump();
  });
}

}  // namespace sluice::rpc
