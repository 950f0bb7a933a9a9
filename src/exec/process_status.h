#pragma once
// How a process ended, as wait(2) tells it, and as a shell says it.
#include <sys/wait.h>

#include <cstdint>

namespace sluice::exec {

/// The status of a process that has ended: a code from exit(2), or the signal that ended it.
class ProcessStatus final {
 public:
  static constexpr ProcessStatus from_wait(std::int32_t wait_status) { return ProcessStatus(wait_status); }
  static constexpr ProcessStatus exited(int code) { return ProcessStatus((code & 0xff) << 8); }
  static constexpr ProcessStatus ended_by(int signal) { return ProcessStatus(signal & 0x7f); }

  constexpr bool by_signal() const { return WIFSIGNALED(wait_status_); }
  constexpr int signal() const { return by_signal() ? WTERMSIG(wait_status_) : 0; }
  constexpr int exit_code() const { return by_signal() ? 0 : WEXITSTATUS(wait_status_); }
  /// The number that `$?` would hold: 128+n for signal n (POSIX XCU 2.8.2).
  constexpr int shell_status() const { return by_signal() ? 128 + signal() : exit_code(); }
  constexpr bool success() const { return shell_status() == 0; }
  constexpr std::int32_t wait_status() const { return wait_status_; }

  constexpr bool operator==(const ProcessStatus&) const = default;

 private:
  constexpr explicit ProcessStatus(std::int32_t wait_status) : wait_status_(wait_status) {}
  std::int32_t wait_status_;
};

}  // namespace sluice::exec
