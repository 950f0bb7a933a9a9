#pragma once
// A thread that moves bytes between descriptors with poll(2), and ends when it is told to.
// Threading: made, started and destroyed by one thread.
#include <expected>
#include <functional>
#include <thread>

#include "base/unique_fd.h"

namespace sluice::link {

class StoppableThread final {
 public:
  StoppableThread() = default;
  StoppableThread(const StoppableThread&) = delete;
  StoppableThread& operator=(const StoppableThread&) = delete;
  /// Tells it to stop, and waits until it has.
  ~StoppableThread();

  /// Runs `work` with a descriptor that is readable once it is to stop. The thread takes no signals: they are the
  /// business of others, and SIGPIPE is an error of write(2) there. Errors: errno; the limit of threads (RLIMIT_NPROC,
  /// a cgroup) or of descriptors is reached.
  std::expected<void, int> start(std::move_only_function<void(int stop)> work);

 private:
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace sluice::link
