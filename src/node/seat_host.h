#pragma once
// The seats of one part on this host, for a stage whose records are on another (far_seats.h): does what is asked for,
// by a program that is started as often as it is told, and says what becomes of it. What starts it is the owner's to
// choose: a spawner, whose processes it has, or the process that this runs in (exec/jobs.h).
//
// The links of each seat are a pipe to read and one to write. A seat whose requests end takes no more; what still runs
// there is awaited. One whose peer breaks the protocol is closed, and said. When all have ended, so does the program.
// It has a thread of its own.
// Threading: made and destroyed by one thread; `on_end` is called once, on the thread of the host.
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "exec/jobs.h"

namespace sluice::node {

struct HostedSeatEnds {
  UniqueFd requests;  // to read
  UniqueFd replies;   // to write
};

class SeatHost final {
 public:
  /// `trouble` in on_end: a sentence, or nothing. Errors: errno; no thread can be started.
  /// `error`: where the stderr of processes goes that nobody wants to have; empty: where the launch has it.
  /// `own_program`: whoever asks may not give arguments in place of the program's own.
  static std::expected<SeatHost, int> start(std::unique_ptr<exec::Jobs> jobs, std::vector<HostedSeatEnds> seats,
                                            UniqueFd error, std::function<void(std::string trouble)> on_end,
                                            bool own_program = false);
  SeatHost(SeatHost&&) noexcept;
  SeatHost& operator=(SeatHost&&) = delete;
  /// Stops it.
  ~SeatHost();

  /// Whoever asks is told to ask for no other job; what runs goes on.
  void leave();

 private:
  struct Running;
  explicit SeatHost(std::unique_ptr<Running> running);
  std::unique_ptr<Running> running_;
};

}  // namespace sluice::node
