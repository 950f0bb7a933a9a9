#include "api/http_stream.h"

#include <chrono>
#include <span>
#include <utility>
#include <vector>

#include "net/patience.h"

namespace sluice::api {
namespace {

// A connection that says nothing should cost little; a body should come in few pieces.
constexpr std::size_t kReadForHead = std::size_t{4} << 10;
constexpr std::size_t kReadForBody = std::size_t{64} << 10;
constexpr std::chrono::seconds kStalledLook{1};

}  // namespace

HttpStream::HttpStream(net::asio::any_io_executor executor, std::shared_ptr<net::Connection> connection)
    : executor_(std::move(executor)), connection_(std::move(connection)) {}

net::Awaitable<void> HttpStream::read_until_end(std::shared_ptr<HttpStream> self) {
  std::vector<std::byte> buffer;
  while (!self->input_ended_) {
    if (self->parser_.buffered() >= kHeldMax) {
      co_await self->wait_for_room();
      continue;
    }
    std::size_t size = self->inside_request() ? kReadForBody : kReadForHead;
    if (buffer.size() != size) buffer = std::vector<std::byte>(size);
    auto got = co_await self->connection_->read_some(buffer);
    if (got) self->parser_.on_bytes({reinterpret_cast<const char*>(buffer.data()), *got});
    if (!got) self->input_ended_ = true;
    if (!got && got.error().kind != net::NetErrorKind::closed) self->dead_ = true;
    self->changed_.notify();
  }
  self->ended_ = true;
  self->changed_.notify();
}

// A connection that is not being read does not say that it was closed from outside, or given up by the kernel. So it is
// asked now and then: by writing nothing.
net::Awaitable<void> HttpStream::wait_for_room() {
  Alarm alarm(executor_, room_, Clock::now() + kStalledLook);
  co_await room_.wait();
  if (alarm.rang() && !writing_) co_await write({}, std::nullopt);
}

std::expected<std::optional<HttpEvent>, HttpRefusal> HttpStream::poll_event() {
  auto event = parser_.poll_event();
  if (parser_.buffered() < kHeldMax) room_.notify();
  return event;
}

net::Awaitable<std::expected<HttpEvent, NoEvent>> HttpStream::next_event(std::optional<TimePoint> deadline) {
  std::optional<Alarm> alarm;
  if (deadline) alarm.emplace(executor_, changed_, *deadline);
  while (true) {
    auto event = poll_event();
    if (!event) co_return std::unexpected(NoEvent::refused);
    if (*event) co_return std::move(**event);
    if (input_ended_) co_return std::unexpected(NoEvent::lost);
    if (alarm && alarm->rang()) co_return std::unexpected(NoEvent::timed_out);
    co_await changed_.wait();
  }
}

net::Awaitable<bool> HttpStream::write(std::string_view bytes, std::optional<TimePoint> deadline) {
  std::optional<net::Patience> patience;
  if (deadline) patience.emplace(executor_, *connection_, *deadline);
  while (writing_) co_await changed_.wait();
  writing_ = true;
  auto written = co_await connection_->write(std::as_bytes(std::span(bytes)));
  writing_ = false;
  if (!written) close();
  changed_.notify();
  co_return written.has_value();
}

void HttpStream::drop_input() {
  parser_.stop();
  room_.notify();
}

void HttpStream::close() {
  input_ended_ = dead_ = true;
  connection_->close();
  room_.notify();
  changed_.notify();
}

}  // namespace sluice::api
