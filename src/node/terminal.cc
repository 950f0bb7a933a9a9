#include "node/terminal.h"

#include <fcntl.h>
#include <unistd.h>

namespace sluice::node {

Terminal Terminal::open() {
  Terminal terminal;
  terminal.device_.reset(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC));
  terminal.at_entry_ = terminal.current();
  terminal.entered_in_background_ = terminal.in_background();
  return terminal;
}

std::optional<termios> Terminal::current() const {
  termios modes{};
  if (!device_ || ::tcgetattr(device_.get(), &modes) != 0) return std::nullopt;
  return modes;
}

bool Terminal::in_background() const { return device_ && ::tcgetpgrp(device_.get()) != ::getpgrp(); }

bool Terminal::is_raw() const {
  auto now = current();
  if (!now || !at_entry_ || in_background()) return false;
  tcflag_t before = entered_in_background_ ? ICANON | ECHO : at_entry_->c_lflag;
  tcflag_t taken = before & ~now->c_lflag;
  return (taken & (ICANON | ECHO)) != 0;
}

void Terminal::restore() const {
  // Nothing is raw in the background, from where tcsetattr(3) would stop us (SIGTTOU).
  if (is_raw() && !entered_in_background_) ::tcsetattr(device_.get(), TCSADRAIN, &*at_entry_);
}

}  // namespace sluice::node
