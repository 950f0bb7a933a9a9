#include "exec/stray_patience.h"

namespace sluice::exec {
namespace {

using namespace std::chrono_literals;

constexpr Duration kSettleTime = 100ms;  // a last line that is being written
constexpr Duration kLookAgain = 500ms;
constexpr Duration kGrace = 2s;

}  // namespace

void StrayPatience::start(TimePoint now) {
  if (state_ != State::off) return;
  state_ = State::looking;
  due_ = now + kSettleTime;
}

void StrayPatience::stop() {
  state_ = State::off;
  due_.reset();
}

void StrayPatience::on_look(bool somebody_drains_a_pipe, TimePoint now) {
  if (state_ != State::looking) return;
  if (!somebody_drains_a_pipe) state_ = State::decided;
  due_ = somebody_drains_a_pipe ? now + kLookAgain : now;
}

StrayPatience::Step StrayPatience::poll_step(TimePoint now) {
  if (!due_ || now < *due_) return Step::none;
  switch (state_) {
    case State::looking:
      return Step::look;
    case State::decided:
      state_ = State::ending;
      due_ = now + kGrace;
      return Step::terminate;
    case State::ending:
      state_ = State::killing;
      due_.reset();
      return Step::kill;
    case State::off:
    case State::killing:
      break;
  }
  return Step::none;
}

}  // namespace sluice::exec
