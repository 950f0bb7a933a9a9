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
  /// pager, a password prompt), which it was not when we started.
  bool is_raw() const;

  /// Puts the modes back if a stage left others behind and the terminal is ours to set.
  void restore() const;

 private:
  std::optional<termios> current() const;
  UniqueFd device_;
  std::optional<termios> at_entry_;
};

}  // namespace sluice::node
