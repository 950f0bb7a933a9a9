#pragma once
// The life of one flow whose stages run below a spawner: what is passed on, when patience ends, and with what status.
//
//   running --all stages ended--> lingering --no process left--> finished
//      |                            |  stragglers that drain a pipe are awaited, since what they read would be lost,
//      |                            |  others for a moment; then SIGTERM, and after a grace SIGKILL
//      | a signal that ends us, or the timeout
//      v
//   ending: the stages were told; after the grace: killing (SIGKILL for everything) --no process left--> finished
//
// A signal while a stage keeps the terminal raw belongs to that stage (an editor, a pager): it neither starts nor
// continues the ending. A hang-up does: there is no terminal any more that a stage could keep.
// Order that the shell must respect: poll_action until empty after every input, and carry the actions out in order.
// Threading: none of its own; no clock, no I/O.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"
#include "exec/process_status.h"

namespace sluice::flow {

using StageIndex = std::size_t;

/// A process that outlived its stage.
struct Straggler {
  int pid = 0;
  std::string name;
  bool drains_pipe = false;  // reads a pipe whose writers have ended: it will end by itself, such as bash's >(gzip)
};

struct FlowRunOptions {
  std::size_t stages = 0;  // one for each worker of a stage that has many
  Duration grace = std::chrono::seconds(2);
  std::optional<Duration> timeout;
  bool keep = false;  // spare what stages left running
};

/// Where a signal that reached us came from.
enum class SignalSource {
  terminal,  // from the kernel, to the whole foreground group: local stages have it already
  process,   // somebody sent it to us; the stages do not know
};

// --- actions ------------------------------------------------------------------------------------------------------

struct PassSignal {
  int signal = 0;
  bool strays_too = false;
  bool then_continue = false;
  bool operator==(const PassSignal&) const = default;
};
struct AskForStragglers {
  bool operator==(const AskForStragglers&) const = default;
};
struct KillEverything {
  bool operator==(const KillEverything&) const = default;
};
struct LeaveStragglers {
  bool operator==(const LeaveStragglers&) const = default;
};
/// For the user: stragglers are being ended. They are named.
struct TellEndingStragglers {
  std::vector<Straggler> stragglers;
  bool operator==(const TellEndingStragglers& other) const { return stragglers.size() == other.stragglers.size(); }
};
/// For the user: stragglers that drain a pipe are awaited beyond the grace. Said once.
struct TellAwaitingStragglers {
  std::vector<Straggler> stragglers;
  bool operator==(const TellAwaitingStragglers& other) const { return stragglers.size() == other.stragglers.size(); }
};
/// For the user: the grace is over, what is left is killed.
struct TellKilling {
  bool operator==(const TellKilling&) const = default;
};
/// For the user: after SIGKILL these still live: another user's, or waiting for a device.
struct TellUnkillable {
  std::vector<Straggler> stragglers;
  bool operator==(const TellUnkillable& other) const { return stragglers.size() == other.stragglers.size(); }
};

using FlowAction = std::variant<PassSignal, AskForStragglers, KillEverything, LeaveStragglers, TellAwaitingStragglers,
                                TellEndingStragglers, TellKilling, TellUnkillable>;

enum class FlowEnd {
  completed,
  timed_out,
  signalled,
  not_started,
  broken,  // records could not go on, or a worker that had some was lost
};

class FlowRun final {
 public:
  FlowRun(FlowRunOptions options, TimePoint now);

  void on_stage_ended(StageIndex stage, TimePoint now);
  /// No process of the flow is left.
  void on_childless();
  void on_stragglers(std::vector<Straggler> stragglers, TimePoint now);
  /// `terminal_raw`: a stage keeps the terminal in a mode in which keys and signals are its own.
  void on_signal(int signal, SignalSource source, bool terminal_raw, TimePoint now);
  /// The flow can't go on as a whole: every stage is ended, as by the timeout.
  void on_broken(TimePoint now);
  void on_deadline(bool terminal_raw, TimePoint now);  // early calls do nothing
  /// Of what begins to end from now on.
  void set_grace(Duration grace) { options_.grace = grace; }

  std::optional<FlowAction> poll_action();
  std::optional<TimePoint> poll_deadline() const;

  bool finished() const { return state_ == State::finished; }
  FlowEnd end() const { return end_; }
  /// The signal to die by, if end() is `signalled`.
  int signal() const { return signal_; }
  /// The last terminal signal that was left to a stage which keeps the terminal raw, or 0.
  int withheld_signal() const { return withheld_signal_; }

 private:
  enum class State { running, ending, lingering, ending_stragglers, killing, finished };

  void end_stages(FlowEnd end, TimePoint now);
  void start_ending(FlowEnd end, TimePoint now);
  void forget_ending();
  void start_lingering(TimePoint now);
  void await_stragglers(std::vector<Straggler> stragglers, TimePoint now);
  void end_stragglers(std::vector<Straggler> stragglers, TimePoint now);
  void kill(TimePoint now);
  void finish();
  bool timeout_counts() const;
  bool stages_ended() const { return ended_ == options_.stages; }

  FlowRunOptions options_;
  State state_ = State::running;
  std::size_t ended_ = 0;
  FlowEnd end_ = FlowEnd::completed;
  int signal_ = 0;
  int withheld_signal_ = 0;
  std::optional<TimePoint> timeout_at_;
  std::optional<TimePoint> patience_ends_;  // of the state
  std::optional<TimePoint> ask_at_;
  bool told_awaiting_ = false;
  bool told_unkillable_ = false;
  std::deque<FlowAction> actions_;
};

}  // namespace sluice::flow
