#include "node/terminal.h"

#include <fcntl.h>
#include <unistd.h>

namespace sluice::node {

Terminal Terminal::open() {
  Terminal terminal;
  terminal.device_.reset(::open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC));
  terminal.at_entry_ = terminal.current();
  return terminal;
}

std::optional<termios> Terminal::current() const {
  termios modes{};
  if (!device_ || ::tcgetattr(device_.get(), &modes) != 0) return std::nullopt;
  return modes;
}

bool Terminal::is_raw() const {
  auto now = current();
  if (!now || !at_entry_) return false;
  tcflag_t taken = at_entry_->c_lflag & ~now->c_lflag;
  return (taken & (ICANON | ECHO)) != 0;
}

void Terminal::restore() const {
  // From the background, tcsetattr(3) would stop us (SIGTTOU).
  if (is_raw() && ::tcgetpgrp(device_.get()) == ::getpgrp()) ::tcsetattr(device_.get(), TCSADRAIN, &*at_entry_);
}

}  // namespace sluice::node
