#include "rpc/channel.h"

#include <fmt/format.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <exception>
#include <span>
#include <utility>

#include "net/first_frame.h"
#include "rpc/call_driver.h"

namespace sluice::rpc {

namespace asio = boost::asio;

namespace {

using net::NetError;
using net::NetErrorKind;

CallRequest request_of(std::string_view method, CallOptions options) {
  CallRequest request{std::string(method), std::nullopt, std::nullopt};
  if (options.timeout) request.timeout = std::chrono::ceil<std::chrono::milliseconds>(*options.timeout);
  if (options.on_behalf_role) request.on_behalf = OnBehalf{*options.on_behalf_role, std::move(options.on_behalf_of)};
  return request;
}

Status too_large(std::size_t size) {
  return {Code::resource_exhausted, fmt::format("a message of {} bytes; at most {} are allowed", size, kMessageMax)};
}

std::expected<void, NetError> accept_answer(const net::FirstAnswer& answer) {
  switch (answer.status) {
    case net::FirstStatus::accepted:
      break;
    case net::FirstStatus::wrong_version:
      return std::unexpected(NetError{NetErrorKind::wrong_version, answer.message});
    case net::FirstStatus::refused:
      return std::unexpected(NetError{NetErrorKind::wrong_role, answer.message});
  }
  return {};
}

// Sends the first frame and reads the answer; what came behind it is put back.
net::Awaitable<std::expected<void, NetError>> introduce(std::shared_ptr<net::Connection> connection) {
  std::string first = net::encode(net::FirstFrame{});
  auto written = co_await connection->write(std::as_bytes(std::span(first)));
  if (!written) co_return std::unexpected(std::move(written.error()));
  std::string received;
  std::array<std::byte, net::kFirstHeaderSize + net::kFirstBodyMax> buffer;
  while (true) {
    auto size = co_await connection->read_some(buffer);
    if (!size) co_return std::unexpected(std::move(size.error()));
    received.append(reinterpret_cast<const char*>(buffer.data()), *size);
    auto answer = net::decode_first_answer(received);
    if (!answer) co_return std::unexpected(NetError{NetErrorKind::protocol, std::move(answer.error())});
    if (!*answer) continue;
    connection->unread(std::as_bytes(std::span(received).subspan((*answer)->taken)));
    co_return accept_answer((*answer)->frame);
  }
}

// Nobody awaits the coroutine that drives a channel, so what it throws has nowhere to go: the process stops with it.
void stop_on_exception(std::exception_ptr exception) noexcept {
  if (exception) std::rethrow_exception(exception);
}

}  // namespace

// --- a call ----------------------------------------------------------------------------------------------------------

struct ClientCall::Impl {
  Impl(std::shared_ptr<CallDriver> call_driver, std::expected<StreamId, Status> call_stream)
      : driver(std::move(call_driver)), stream(std::move(call_stream)) {
    if (stream) driver->attach(*stream, waiters);
  }
  ~Impl() {
    if (!stream) return;
    driver->detach(*stream);
    driver->calls().release(*stream);
    driver->pump();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  CallMultiplexer& calls() { return driver->calls(); }
  /// How the call ended; null while it has not.
  const Status* over() { return stream ? calls().over(*stream) : &stream.error(); }

  std::shared_ptr<CallDriver> driver;
  std::expected<StreamId, Status> stream;  // or why it could not be started
  CallWaiters waiters;
};

ClientCall::ClientCall(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
ClientCall::ClientCall(ClientCall&&) noexcept = default;
ClientCall& ClientCall::operator=(ClientCall&&) noexcept = default;
ClientCall::~ClientCall() = default;

net::Awaitable<std::expected<void, Status>> ClientCall::write(std::string message) {
  auto impl = impl_;
  if (message.size() > kMessageMax) co_return std::unexpected(too_large(message.size()));
  while (impl->over() == nullptr && !impl->calls().writable(*impl->stream)) {
    bool notified = co_await impl->waiters.writable.wait();
    if (!notified) co_return std::unexpected(Status{Code::cancelled, "nobody waits for the write any more"});
  }
  if (const Status* over = impl->over())
    co_return std::unexpected(over->ok() ? Status{Code::cancelled, "the call has ended"} : *over);
  impl->calls().write(*impl->stream, std::move(message));
  impl->driver->pump();
  co_return std::expected<void, Status>{};
}

void ClientCall::writes_done() {
  if (!impl_->stream) return;
  impl_->calls().finish_writing(*impl_->stream);
  impl_->driver->pump();
}

net::Awaitable<std::optional<std::string>> ClientCall::read() {
  auto impl = impl_;
  while (impl->stream) {
    if (auto message = impl->calls().read(*impl->stream)) {
      impl->driver->pump();  // credit may be due
      co_return message;
    }
    if (impl->calls().read_to_end(*impl->stream)) break;
    bool notified = co_await impl->waiters.readable.wait();
    if (!notified) break;
  }
  co_return std::nullopt;
}

net::Awaitable<Status> ClientCall::finish() {
  auto impl = impl_;
  while (impl->over() == nullptr) {
    // An answer that nobody reads must not keep the end from coming.
    while (impl->calls().read(*impl->stream)) impl->driver->pump();
    if (impl->over() != nullptr) break;
    bool notified = co_await impl->waiters.readable.wait();  // the end makes it readable, too
    if (!notified) co_return Status{Code::cancelled, "nobody waits for the call any more"};
  }
  co_return *impl->over();
}

void ClientCall::cancel() {
  if (!impl_->stream) return;
  impl_->calls().cancel(*impl_->stream);
  impl_->driver->pump();
}

// --- a channel -------------------------------------------------------------------------------------------------------

struct Channel::Impl {
  std::shared_ptr<CallDriver> driver;
  std::optional<NetError> ended;
  Wakeup has_ended;

  static net::Awaitable<void> run(std::shared_ptr<Impl> self) {
    self->ended = co_await CallDriver::run(self->driver);
    self->has_ended.notify();
  }
};

Channel::Channel(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Channel::~Channel() { close(); }

net::Awaitable<std::expected<std::unique_ptr<Channel>, NetError>> Channel::open(
    std::unique_ptr<net::Connection> connection, TimePoint deadline) {
  std::shared_ptr<net::Connection> shared = std::move(connection);
  auto executor = co_await asio::this_coro::executor;
  enum class Race { on, won, lost };
  auto race = std::make_shared<Race>(Race::on);
  asio::steady_timer timer(executor, deadline);
  timer.async_wait([shared, race](const boost::system::error_code& error) {
    if (error || *race != Race::on) return;  // a timer that is due can't be cancelled any more
    *race = Race::lost;
    shared->close();
  });
  auto introduced = co_await introduce(shared);
  timer.cancel();
  if (*race == Race::on) *race = Race::won;
  if (*race == Race::lost)
    co_return std::unexpected(NetError{NetErrorKind::timed_out, "no answer to the first frame in time"});
  if (!introduced) {
    shared->close();
    co_return std::unexpected(std::move(introduced.error()));
  }
  auto impl = std::make_shared<Impl>();
  impl->driver = std::make_shared<CallDriver>(std::move(shared), MultiplexerOptions{.side = Side::client});
  asio::co_spawn(executor, Impl::run(impl), stop_on_exception);
  co_return std::unique_ptr<Channel>(new Channel(std::move(impl)));
}

const net::Peer& Channel::peer() const { return impl_->driver->connection().peer(); }

bool Channel::alive() const { return !impl_->driver->calls().exhausted(); }

net::Awaitable<NetError> Channel::closed() {
  auto impl = impl_;
  while (!impl->ended) {
    bool notified = co_await impl->has_ended.wait();
    if (!notified) co_return NetError{NetErrorKind::cancelled, "nobody waits any more"};
  }
  co_return *impl->ended;
}

void Channel::close() { impl_->driver->close(); }

ClientCall Channel::start(std::string_view method, CallOptions options) {
  auto stream = impl_->driver->calls().start(request_of(method, std::move(options)), Clock::now());
  auto call = std::make_shared<ClientCall::Impl>(impl_->driver, std::move(stream));
  impl_->driver->pump();
  return ClientCall(std::move(call));
}

net::Awaitable<std::expected<std::string, Status>> Channel::call(std::string method, std::string request,
                                                                 CallOptions options) {
  ClientCall call = start(method, std::move(options));
  auto written = co_await call.write(std::move(request));
  if (!written) co_return std::unexpected(std::move(written.error()));
  call.writes_done();
  auto response = co_await call.read();
  Status status = co_await call.finish();
  if (!status.ok()) co_return std::unexpected(std::move(status));
  if (!response) co_return std::unexpected(Status{Code::internal, "the call ended well without an answer"});
  co_return std::move(*response);
}

}  // namespace sluice::rpc
