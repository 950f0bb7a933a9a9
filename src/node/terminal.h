#pragma once
// The controlling terminal, as far as a flow must respect it.
#include <termios.h>

#include <optional>

#include "base/unique_fd.h"

namespace sluice::node {

class Terminal final {
 public:
  /// Opens /dev/tty and remembers its modes. Without a controlling terminal nothing is raw and nothing is restored.
  static Terminal open();

  /// A stage took the terminal for itself: it reads keys instead of lines, or has switched the echo off (an editor, a
  /// pager, a password prompt), which it was not when we started. False in the background: what is raw there is another
  /// job's terminal, most often the shell's own at its prompt.
  bool is_raw() const;

  /// Another job has the terminal: what we would write on it lands in that job's screen, or stops us (SIGTTOU).
  bool in_background() const;

  /// Puts the modes back if a stage left others behind and the terminal is ours to set.
  void restore() const;

 private:
  std::optional<termios> current() const;
  UniqueFd device_;
  std::optional<termios> at_entry_;
  bool entered_in_background_ = false;  // `at_entry_` are then modes of another job, no good to go back to
};

}  // namespace sluice::node
