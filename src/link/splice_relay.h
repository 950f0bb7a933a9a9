#pragma once
// Moves bytes from one kernel pipe to another and counts them, without copying them through user space (splice(2)).
//
// When the input has ended, or the reader is gone, both ends are closed: the end is passed down, the reader's close up.
// Who must not see the end of a link that was cut keeps the output open a second time, and closes it on `input_ended`.
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
