#pragma once
// The handlers of a program that is linked with the C++ library, as something that a seat starts by job: each start is
// a session, which is a socket with a stage at its other end, and the thread of run() serves one after the other.
//
// To kill a session is to shut its socket, and to say at once that it has ended: a handler can't be stopped, and the
// stage must not wait for it. What waits is the next session, until the thread comes back.
//
//   start --> waits --> serves --> its end is said          cut, while it waits or serves: its end is said,
//                                                           and what the thread says later is not
// Threading: any; each part below says whose it is.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <expected>
#include <functional>
#include <mutex>
#include <optional>

#include "base/time.h"
#include "base/unique_fd.h"
#include "exec/spawn_protocol.h"

namespace sluice::worker {

class Sessions final {
 public:
  /// Errors: errno; no descriptor is left.
  static std::expected<std::unique_ptr<Sessions>, int> make();

  // --- the thread of run() ----------------------------------------------------------------------------------------

  /// The socket of the next session, which the caller closes; waits for it. Nothing: there will be no other.
  std::optional<int> next();
  /// The one that was taken last has ended.
  void ended(int status);
  /// Nobody hears that one any more.
  bool is_cut() const { return cut_.load(std::memory_order_relaxed); }
  /// With what the last one ended that was not cut.
  int last_status() const { return last_status_; }

  // --- the loop of the worker -------------------------------------------------------------------------------------

  /// From now on a seat may start some; until it closes.
  void open();
  /// Cuts all that there are, as if by this signal.
  void cut(int signal);
  /// The same, and the seat can start none any more.
  void kill();
  /// No seat is open, and the thread of run() is at none.
  bool idle() const;
  /// Called on any thread when that has become true.
  void on_idle(std::function<void()> handler);
  /// There will be no other.
  void finish();

  // --- the seat: see exec::Jobs -----------------------------------------------------------------------------------

  std::expected<void, int> start(exec::JobNumber job, int socket);
  void cut(exec::JobNumber job, int signal);
  void close();
  bool is_open() const;
  int descriptor() const { return changed_.get(); }
  bool receive();
  std::optional<exec::JobEvent> poll_event();

 private:
  struct Waiting {
    exec::JobNumber job = 0;
    UniqueFd socket;
  };
  struct Serving {
    exec::JobNumber job = 0;
    UniqueFd socket;  // a copy, to shut
    TimePoint began{};
    bool said = false;  // that it has ended
  };

  explicit Sessions(UniqueFd changed) : changed_(std::move(changed)) {}
  // With the mutex held.
  void cut_serving(int signal);
  void say_ended(exec::JobNumber job, int wait_status, TimePoint began);
  bool is_idle() const { return !open_ && !serving_ && waiting_.empty(); }
  void notify_if_idle(std::unique_lock<std::mutex> lock);

  UniqueFd changed_;  // readable when there are events, or it was killed
  std::atomic<bool> cut_{false};
  int last_status_ = 0;  // of the thread of run()

  mutable std::mutex mutex_;  // what follows
  std::condition_variable came_;
  std::deque<Waiting> waiting_;
  std::optional<Serving> serving_;
  std::deque<exec::JobEvent> events_;
  std::function<void()> on_idle_;
  bool open_ = false;
  bool killed_ = false;
  bool finished_ = false;
};

}  // namespace sluice::worker
