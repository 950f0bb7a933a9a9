#pragma once
// Moves bytes from one kernel pipe to another and counts them, without copying them through user space (splice(2)).
//
// The end of the input is passed on only when the owner says so (`ended` and then the destructor, or a release of what
// else holds the output open); a reader that goes away is passed up at once by closing the input.
// Threading: belongs to one loop; never blocks.
#include <poll.h>

#include <optional>

#include "base/quantity.h"
#include "base/unique_fd.h"

namespace sluice::link {

class SpliceRelay final {
 public:
  /// Both are ends of pipes.
  SpliceRelay(UniqueFd input, UniqueFd output) : input_(std::move(input)), output_(std::move(output)) {}

  enum class State { moving, input_ended, reader_gone, failed };

  /// Moves what can be moved now, up to a bound, so that other relays of the loop get their turn.
  State move();
  State state() const { return state_; }

  /// What to wait for before the next `move`, for poll(2). Nothing when the relay has ended.
  struct Waits {
    pollfd input;
    pollfd output;
  };
  std::optional<Waits> waits() const;

  ByteCount moved() const { return moved_; }

 private:
  State finish(State state);

  UniqueFd input_;
  UniqueFd output_;
  State state_ = State::moving;
  bool output_full_ = false;
  ByteCount moved_;
};

}  // namespace sluice::link
