#pragma once
// The I/O below the door: one connection, whose bytes come in through the parser while a request is carried out, so that a
// client which goes away is noticed.
//
// While kHeldMax bytes wait for whoever reads the body, nothing more is read: TCP's window then slows the client down. A
// client that goes away in that state is noticed only when it stands in the way of a write, or by TCP's keepalive.
// Threading: belongs to the loop of its connection.
#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <string_view>

#include "api/alarm.h"
#include "api/http_parser.h"
#include "base/time.h"
#include "net/async.h"
#include "net/connection.h"
#include "rpc/wakeup.h"

namespace sluice::api {

/// Received and in no event yet. More than a head, or a head could never be complete.
inline constexpr std::size_t kHeldMax = std::size_t{64} << 10;
static_assert(kHeldMax > kHeadMax + kTrailersMax);

/// Why there is no event.
enum class NoEvent { lost, timed_out, refused };

class HttpStream final : public std::enable_shared_from_this<HttpStream> {
 public:
  HttpStream(net::asio::any_io_executor executor, std::shared_ptr<net::Connection> connection);
  HttpStream(const HttpStream&) = delete;
  HttpStream& operator=(const HttpStream&) = delete;

  /// Reads until the connection ends. Runs beside everything else here; `ended` says that it has returned.
  static net::Awaitable<void> read_until_end(std::shared_ptr<HttpStream> self);
  bool ended() const { return ended_; }

  /// Nothing: none now. Errors: the client sent what can't be answered in order; the connection can't go on.
  std::expected<std::optional<HttpEvent>, HttpRefusal> poll_event();
  /// Waits for one. After `refused`, `poll_event` says why.
  net::Awaitable<std::expected<HttpEvent, NoEvent>> next_event(std::optional<TimePoint> deadline);

  /// All of it, behind what somebody else writes now. False: the client is gone, or the deadline has passed, which ends the
  /// connection.
  net::Awaitable<bool> write(std::string_view bytes, std::optional<TimePoint> deadline);

  /// The client sends no more: it has gone, most likely, or has only ended its own direction.
  bool input_ended() const { return input_ended_; }
  /// Nothing can be sent any more.
  bool dead() const { return dead_; }
  bool inside_request() const { return parser_.inside_request(); }
  bool writing() const { return writing_; }
  /// Notified whenever any of the above may say something else.
  rpc::Wakeup& changed() { return changed_; }
  /// What still comes is read, so that the client gets to read our answer, and dropped.
  void drop_input();
  void close();

  const net::Connection& connection() const { return *connection_; }
  const net::asio::any_io_executor& executor() const { return executor_; }

 private:
  net::Awaitable<void> wait_for_room();

  net::asio::any_io_executor executor_;
  std::shared_ptr<net::Connection> connection_;  // shared with whoever may close it from outside
  HttpParser parser_;
  rpc::Wakeup changed_;
  rpc::Wakeup room_;  // for more bytes
  bool input_ended_ = false;
  bool dead_ = false;
  bool ended_ = false;
  bool writing_ = false;
};

}  // namespace sluice::api
