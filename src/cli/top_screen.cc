#include "cli/top_screen.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <csignal>
#include <optional>
#include <string_view>
#include <utility>

namespace sluice::cli {

namespace asio = net::asio;

namespace {

// Control sequences of xterm, which every terminal of today knows (XTerm Control Sequences, "DEC Private Mode Set").
constexpr std::string_view kEnter = "\033[?1049h\033[?25l";  // the alternate screen, no cursor
constexpr std::string_view kLeave = "\033[?25h\033[?1049l";
constexpr std::string_view kHome = "\033[H";
constexpr std::string_view kClearLine = "\033[K";
constexpr std::string_view kClearBelow = "\033[J";

// False: the terminal is gone.
bool write_all(std::string_view text) {
  while (!text.empty()) {
    ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) {
      pollfd writable{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
      ::poll(&writable, 1, -1);
      continue;
    }
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// Keys that were typed at once come at once, and those of the cursor are sequences of three.
std::vector<Key> keys_of(std::string_view typed) {
  std::vector<Key> keys;
  while (!typed.empty()) {
    bool sequence = typed.size() >= 3 && typed[0] == '\033' && (typed[1] == '[' || typed[1] == 'O');
    char key = sequence ? typed[2] : typed[0];
    if (sequence)
      keys.push_back(key == 'A' ? Key::up : key == 'B' ? Key::down : key == 'H' ? Key::first : Key::other);
    else if (key == 'q' || key == 'Q')
      keys.push_back(Key::quit);
    else if (key == 'k' || key == 'j')
      keys.push_back(key == 'k' ? Key::up : Key::down);
    else
      keys.push_back(key == 'g' ? Key::first : key == 'w' ? Key::workers : Key::other);
    typed.remove_prefix(sequence ? 3 : 1);
  }
  return keys;
}

}  // namespace

// Stdin itself is not given to Asio, which would make it non-blocking for everybody who has it, the shell included.
struct TopScreen::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::any_io_executor executor, Handlers to_call)
      : handlers(std::move(to_call)),
        typed(executor),
        signals(executor, SIGINT, SIGTERM, SIGHUP),
        changes(executor, SIGWINCH, SIGTSTP, SIGCONT) {
    signals.add(SIGQUIT);
  }

  void open() {
    termios modes{};
    if (::tcgetattr(STDIN_FILENO, &modes) == 0) before = modes;
    enter();
    wait_for_signals();
    wait_for_changes();
    int descriptor = ::epoll_create1(EPOLL_CLOEXEC);
    if (descriptor < 0) return;
    typed.assign(descriptor);
    epoll_event event{.events = EPOLLIN, .data = {}};
    if (::epoll_ctl(descriptor, EPOLL_CTL_ADD, STDIN_FILENO, &event) == 0) wait_for_keys();
  }

  // A process in the background that changes the terminal is stopped, as it should be.
  void enter() {
    if (std::exchange(taken, true)) return;
    if (before) {
      termios modes = *before;
      modes.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);  // signals keep their keys
      modes.c_cc[VMIN] = 1;
      modes.c_cc[VTIME] = 0;
      ::tcsetattr(STDIN_FILENO, TCSANOW, &modes);
    }
    write_all(kEnter);
  }

  void leave() {
    if (!std::exchange(taken, false)) return;
    write_all(kLeave);
    if (before) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &*before);
  }

  void close() {
    leave();
    handlers = {};
    boost::system::error_code ignored;
    signals.cancel(ignored);
    changes.cancel(ignored);
    typed.close(ignored);
  }

  void wait_for_keys() {
    typed.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](boost::system::error_code error) {
                       if (!error) self->on_typed();
                     });
  }

  void on_typed() {
    char keys[64];
    ssize_t got = ::read(STDIN_FILENO, keys, sizeof keys);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return wait_for_keys();
    if (got <= 0) return end(0);
    for (Key key : keys_of({keys, static_cast<std::size_t>(got)}))
      if (handlers.on_key) handlers.on_key(key);
    if (typed.is_open()) wait_for_keys();
  }

  void end(int signal) {
    if (handlers.on_end) handlers.on_end(signal);
  }

  void wait_for_signals() {
    signals.async_wait([self = shared_from_this()](boost::system::error_code error, int signal) {
      if (!error) self->end(signal);
    });
  }

  void wait_for_changes() {
    changes.async_wait([self = shared_from_this()](boost::system::error_code error, int signal) {
      if (error) return;
      self->on_change(signal);
      self->wait_for_changes();
    });
  }

  void on_change(int signal) {
    if (signal == SIGTSTP) {
      leave();
      ::raise(SIGSTOP);  // goes on with SIGCONT
    }
    if (signal != SIGWINCH) taken = false;  // a shell has had the terminal meanwhile
    enter();
    if (handlers.on_resize) handlers.on_resize();
  }

  Handlers handlers;
  asio::posix::stream_descriptor typed;
  asio::signal_set signals, changes;
  std::optional<termios> before;
  bool taken = false;
};

TopScreen::TopScreen(asio::any_io_executor executor, Handlers handlers)
    : impl_(std::make_shared<Impl>(std::move(executor), std::move(handlers))) {
  impl_->open();
}

TopScreen::~TopScreen() { impl_->close(); }

TopScreen::Size TopScreen::size() {
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_row == 0 || window.ws_col == 0) return {};
  return {.rows = window.ws_row, .columns = window.ws_col};
}

void TopScreen::show(const std::vector<std::string>& lines) {
  if (!impl_->taken) return;
  std::string text(kHome);
  std::size_t rows = std::min(lines.size(), size().rows);
  for (std::size_t i = 0; i < rows; ++i) {
    if (i > 0) text += "\r\n";
    text += lines[i];
    text += kClearLine;
  }
  text += kClearBelow;
  if (!write_all(text)) impl_->end(0);
}

}  // namespace sluice::cli
