#pragma once
// The signals that `sluice` itself receives while a flow runs, as events.
#include <csignal>
#include <optional>

#include "base/unique_fd.h"
#include "exec/entry_state.h"
#include "flow/flow_run.h"

namespace sluice::node {

struct ReceivedSignal {
  int number = 0;
  flow::SignalSource source = flow::SignalSource::process;
};

class Signals final {
 public:
  /// Blocks and watches those that end us or that a stage may want (SIGUSR1, SIGUSR2), unless they were ignored at
  /// entry: nohup(1) and a background job of a plain shell mean that. SIGPIPE is blocked, so that writing to a closed
  /// stderr is an error and not our end. SIGTSTP and its kind keep their effect: we are a job like the shell's own.
  explicit Signals(const exec::EntryState& entry);

  int descriptor() const { return events_.get(); }
  std::optional<ReceivedSignal> next();

 private:
  UniqueFd events_;
};

/// Ends this process by `signal`, so that a shell around us sees what happened. Without a core dump of ours.
[[noreturn]] void die_by(int signal);

}  // namespace sluice::node
