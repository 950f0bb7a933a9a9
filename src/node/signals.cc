#include "node/signals.h"

#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace sluice::node {

Signals::Signals(const exec::EntryState& entry) {
  sigset_t watched;
  ::sigemptyset(&watched);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2})
    if (!entry.ignores(signal)) ::sigaddset(&watched, signal);
  sigset_t blocked = watched;
  ::sigaddset(&blocked, SIGPIPE);
  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
  events_.reset(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
}

std::optional<ReceivedSignal> Signals::next() {
  signalfd_siginfo info{};
  if (::read(events_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
  // What the terminal sends goes to its whole foreground group, and comes from the kernel.
  bool from_kernel = info.ssi_code == SI_KERNEL;
  return ReceivedSignal{.number = static_cast<int>(info.ssi_signo),
                        .source = from_kernel ? flow::SignalSource::terminal : flow::SignalSource::process};
}

void die_by(int signal) {
  rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::signal(signal, SIG_DFL);
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, signal);
  ::raise(signal);
  ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
  ::_exit(128 + signal);  // reached only if the signal's default is not to end a process
}

}  // namespace sluice::node
