#pragma once
// Drives the calls of one connection: reads, writes and the deadline's timer around a CallMultiplexer, for both sides.
//
// Whoever changes something at `calls()` calls `pump` afterwards. What several coroutines queue before the loop comes
// back to the writer leaves in one write, as does what was queued while a write was under way.
// Threading: belongs to the loop of its connection.
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "net/async.h"
#include "net/connection.h"
#include "rpc/call_multiplexer.h"
#include "rpc/wakeup.h"

namespace sluice::rpc {

/// What the coroutines of one call wait for. All three are notified when the call is over.
struct CallWaiters {
  Wakeup readable;
  Wakeup writable;
  Wakeup over;
};

class CallDriver final : public std::enable_shared_from_this<CallDriver> {
 public:
  using OnStarted = std::function<void(StreamId)>;

  CallDriver(std::shared_ptr<net::Connection> connection, MultiplexerOptions options, OnStarted on_started = {});
  ~CallDriver();
  CallDriver(const CallDriver&) = delete;
  CallDriver& operator=(const CallDriver&) = delete;

  /// Runs until the connection has ended, and says why. Every call is over then. Once only.
  static net::Awaitable<net::NetError> run(std::shared_ptr<CallDriver> self);
  /// Ends the connection, and `run`.
  void close();
  /// The server's: ends the calls, tells the peer why, takes nothing more from it, and ends the connection as soon as that is
  /// sent, or after a second.
  void hang_up(const Status& reason);

  CallMultiplexer& calls() { return calls_; }
  const net::Connection& connection() const { return *connection_; }
  void pump();

  /// The waiters of a call, for as long as its id is valid.
  void attach(StreamId stream, CallWaiters& waiters) { waiters_[stream] = &waiters; }
  void detach(StreamId stream) { waiters_.erase(stream); }

 private:
  struct Timer;

  net::Awaitable<void> read_until_end();
  net::Awaitable<void> write_until_end();
  void end(net::NetError reason);
  void deliver_events();
  void deliver(CallEvent event);
  void arm();

  std::shared_ptr<net::Connection> connection_;  // shared with whoever may close it from outside
  MultiplexerOptions options_;
  OnStarted on_started_;
  CallMultiplexer calls_;
  std::map<StreamId, CallWaiters*> waiters_;
  Wakeup transmits_;
  std::unique_ptr<Timer> timer_;  // while it runs
  std::optional<net::NetError> ended_;
  bool delivering_ = false;
  bool hung_up_ = false;
};

}  // namespace sluice::rpc
