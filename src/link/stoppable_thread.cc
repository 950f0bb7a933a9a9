#include "link/stoppable_thread.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "base/require.h"
#include "base/signals_blocked.h"

namespace sluice::link {

std::expected<void, int> StoppableThread::start(std::move_only_function<void(int stop)> work) {
  REQUIRE(!stop_);
  stop_.reset(::eventfd(0, EFD_CLOEXEC));
  if (!stop_) return std::unexpected(errno);
  SignalsBlocked blocked;
  try {
    thread_ = std::thread([work = std::move(work), stop = stop_.get()]() mutable { work(stop); });
  } catch (const std::system_error& error) {
    return std::unexpected(error.code().value());
  }
  return {};
}

StoppableThread::~StoppableThread() {
  if (!thread_.joinable()) return;
  std::uint64_t one = 1;
  (void)!::write(stop_.get(), &one, sizeof one);
  thread_.join();
}

}  // namespace sluice::link
