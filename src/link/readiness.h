#pragma once
// Waiting on a data loop: for a descriptor, and for a point in time. It hides Asio, and keeps its hands off descriptors that
// are not ours alone: Asio makes what it waits for non-blocking, and O_NONBLOCK belongs to the open file description, which
// a terminal or an inherited pipe shares with the shell.
//
// Who waits is told that something happened, and looks at everything again: a call too many does no harm. A wait holds its
// waiter; closing ends the waits.
// Threading: belongs to the loop of its executor.
#include <expected>
#include <memory>

#include "base/time.h"
#include "net/async.h"

namespace sluice::link {

class LoopWaiter {
 public:
  virtual ~LoopWaiter() = default;
  virtual void on_ready() = 0;
};

class Readiness final {
 public:
  enum class Need { input, output, trouble };  // trouble: the other side is gone (EPOLLERR, EPOLLHUP)

  /// Knows nothing, waits for nothing.
  Readiness() = default;
  /// `descriptor` must stay open until `close`. `shared`: its open file description is not ours alone.
  /// Errors: what epoll(7) said. A descriptor that it does not support, such as a regular file, is always ready.
  static std::expected<Readiness, int> watch(net::asio::any_io_executor executor, int descriptor, bool shared);
  Readiness(Readiness&&) noexcept = default;
  Readiness& operator=(Readiness&& other) noexcept;
  ~Readiness() { close(); }

  /// `ready(need)` is false until it happens; then `waiter` is told. Waiting already: nothing changes.
  void await(Need need, const std::shared_ptr<LoopWaiter>& waiter);
  /// It happened, or was never waited for: worth trying.
  bool ready(Need need) const;
  void close();

 private:
  class Impl;
  class Alone;
  class Shared;
  class Always;
  explicit Readiness(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;  // with the waits
};

class Alarm final {
 public:
  explicit Alarm(net::asio::any_io_executor executor);
  Alarm(Alarm&&) noexcept;
  Alarm& operator=(Alarm&&) noexcept = delete;
  ~Alarm();

  /// In place of what was set before.
  void set(Duration after, const std::shared_ptr<LoopWaiter>& waiter);
  bool armed() const;
  /// It went off; asking takes it back.
  bool take_expired();
  void cancel();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // with the wait
};

}  // namespace sluice::link
