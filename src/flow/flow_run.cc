#include "flow/flow_run.h"

#include <algorithm>
#include <csignal>

#include "base/require.h"

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;

// What a stage left in the background is given this long to end by itself: a last line that is being written.
constexpr Duration kSettleTime = 100ms;
// How often stragglers are looked at while they are awaited.
constexpr Duration kAskInterval = 50ms;
constexpr Duration kLateAskInterval = 500ms;  // when they have outlasted the grace
// SIGKILL needs no patience of the process, only of the kernel; beyond this the user is told who will not go.
constexpr Duration kKillPatience = 2s;

bool ends_us(int signal) { return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT; }

std::optional<TimePoint> earliest(std::optional<TimePoint> a, std::optional<TimePoint> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

}  // namespace

FlowRun::FlowRun(FlowRunOptions options, TimePoint now) : options_(options) {
  REQUIRE(options_.stages > 0);
  if (options_.timeout) timeout_at_ = now + *options_.timeout;
}

void FlowRun::on_stage_ended(StageIndex stage, TimePoint now) {
  REQUIRE(stage < options_.stages);
  REQUIRE(!stages_ended());
  ++ended_;
  if (!stages_ended() || state_ != State::running) return;
  start_lingering(now);
}

void FlowRun::start_lingering(TimePoint now) {
  state_ = State::lingering;
  patience_ends_ = now + kSettleTime;
  ask_at_ = now;  // with nothing left running, `on_childless` comes before the question is due
  if (options_.keep) {
    actions_.push_back(LeaveStragglers{});
    finish();
  }
}

void FlowRun::on_childless() {
  if (!finished()) finish();
}

void FlowRun::on_stragglers(std::vector<Straggler> stragglers, TimePoint now) {
  if (state_ == State::killing && !told_unkillable_ && !stragglers.empty()) {
    told_unkillable_ = true;
    actions_.push_back(TellUnkillable{std::move(stragglers)});
  }
  if (state_ != State::lingering) return;
  if (std::ranges::any_of(stragglers, &Straggler::drains_pipe))
    await_stragglers(std::move(stragglers), now);
  else if (now >= *patience_ends_ && !stragglers.empty())
    end_stragglers(std::move(stragglers), now);
  else
    ask_at_ = now + kAskInterval;
}

void FlowRun::await_stragglers(std::vector<Straggler> stragglers, TimePoint now) {
  ask_at_ = now + (told_awaiting_ ? kLateAskInterval : kAskInterval);
  bool beyond_grace = now >= *patience_ends_ - kSettleTime + options_.grace;
  if (told_awaiting_ || !beyond_grace) return;
  told_awaiting_ = true;
  std::erase_if(stragglers, [](const Straggler& straggler) { return !straggler.drains_pipe; });
  actions_.push_back(TellAwaitingStragglers{std::move(stragglers)});
}

void FlowRun::end_stragglers(std::vector<Straggler> stragglers, TimePoint now) {
  state_ = State::ending_stragglers;
  ask_at_.reset();
  patience_ends_ = now + options_.grace;
  actions_.push_back(PassSignal{.signal = SIGTERM, .strays_too = true, .then_continue = true});
  actions_.push_back(TellEndingStragglers{std::move(stragglers)});
}

void FlowRun::on_signal(int signal, SignalSource source, bool terminal_raw, TimePoint now) {
  if (finished()) return;
  bool from_terminal = source == SignalSource::terminal;
  if (from_terminal && terminal_raw && signal != SIGHUP) {
    withheld_signal_ = signal;
    return;
  }
  if (!from_terminal)
    actions_.push_back(PassSignal{.signal = signal, .strays_too = true, .then_continue = ends_us(signal)});
  if (!ends_us(signal)) return;
  if (signal_ != 0 && from_terminal) return kill(now);  // Ctrl-C again: the user's patience is over
  if (signal_ == 0) signal_ = signal;
  start_ending(FlowEnd::signalled, now);
}

void FlowRun::on_broken(TimePoint now) {
  if (state_ == State::running) end_stages(FlowEnd::broken, now);
}

void FlowRun::end_stages(FlowEnd end, TimePoint now) {
  actions_.push_back(PassSignal{.signal = SIGTERM, .strays_too = true, .then_continue = true});
  start_ending(end, now);
}

void FlowRun::start_ending(FlowEnd end, TimePoint now) {
  // The first reason counts, and a signal to us outweighs a timeout: whoever sent it must see us die by it.
  if (end_ == FlowEnd::completed || end == FlowEnd::signalled) end_ = end;
  if (state_ == State::killing) return;
  if (state_ != State::ending) patience_ends_ = now + options_.grace;
  state_ = State::ending;
  ask_at_.reset();
}

void FlowRun::forget_ending() {
  end_ = FlowEnd::completed;
  withheld_signal_ = signal_;
  signal_ = 0;
  state_ = State::running;
  patience_ends_.reset();
}

// While the flow is being ended there is a deadline already; if that was a stage's own signal, the timeout counts
// again.
bool FlowRun::timeout_counts() const {
  return timeout_at_ && (state_ == State::running || state_ == State::lingering || state_ == State::ending_stragglers);
}

void FlowRun::on_deadline(bool terminal_raw, TimePoint now) {
  if (timeout_counts() && now >= *timeout_at_) {
    timeout_at_.reset();
    end_stages(FlowEnd::timed_out, now);
  }
  if (ask_at_ && now >= *ask_at_) {
    ask_at_.reset();
    actions_.push_back(AskForStragglers{});
  }
  // While lingering, patience is judged by what the stragglers did, when their survey arrives.
  if (!patience_ends_ || now < *patience_ends_ || state_ == State::lingering) return;
  bool belongs_to_stage = terminal_raw && end_ == FlowEnd::signalled && signal_ != SIGHUP && !stages_ended();
  if (state_ == State::ending && belongs_to_stage) return forget_ending();
  if (state_ == State::ending || state_ == State::ending_stragglers) {
    kill(now);
    actions_.push_back(TellKilling{});
    return;
  }
  if (state_ == State::killing) {
    patience_ends_.reset();
    actions_.push_back(AskForStragglers{});
  }
}

void FlowRun::kill(TimePoint now) {
  if (state_ == State::killing) return;
  state_ = State::killing;
  ask_at_.reset();
  timeout_at_.reset();
  patience_ends_ = now + kKillPatience;
  actions_.push_back(KillEverything{});
}

void FlowRun::finish() {
  state_ = State::finished;
  patience_ends_.reset();
  ask_at_.reset();
  timeout_at_.reset();
}

std::optional<FlowAction> FlowRun::poll_action() {
  if (actions_.empty()) return std::nullopt;
  FlowAction action = std::move(actions_.front());
  actions_.pop_front();
  return action;
}

std::optional<TimePoint> FlowRun::poll_deadline() const {
  std::optional<TimePoint> patience = state_ == State::lingering ? std::nullopt : patience_ends_;
  return earliest(earliest(timeout_counts() ? timeout_at_ : std::nullopt, ask_at_), patience);
}

}  // namespace sluice::flow
