#include "link/record_intake.h"

#include <utility>

#include "base/require.h"
#include "link/record_intake_pump.h"

namespace sluice::link {

RecordIntake::RecordIntake(std::shared_ptr<RecordIntakeCore> core, std::weak_ptr<RecordIntakePump> pump,
                           std::optional<LoopMailbox> loop)
    : core_(std::move(core)), pump_(std::move(pump)), loop_(std::move(loop)) {}

RecordIntake& RecordIntake::operator=(RecordIntake&& other) noexcept {
  if (this == &other) return *this;
  drop();
  core_ = std::move(other.core_);
  pump_ = std::move(other.pump_);
  loop_ = std::move(other.loop_);
  return *this;
}

RecordIntake::~RecordIntake() { drop(); }

void RecordIntake::drop() {
  if (!core_) return;
  core_->dropped = true;
  release();
  cancel("nobody waits for the link any more");
  core_.reset();
}

template <class Work>
void RecordIntake::post(Work work) const {
  if (!loop_) return;
  loop_->post([pump = pump_, work = std::move(work)]() mutable {
    if (auto running = pump.lock()) work(*running);
  });
}

void RecordIntake::connect(net::Connection::Parts parts) {
  post([parts = std::move(parts)](RecordIntakePump& pump) mutable { pump.connect(std::move(parts)); });
}

void RecordIntake::drain() {
  post([](RecordIntakePump& pump) { pump.drain(); });
}

void RecordIntake::pause() {
  post([](RecordIntakePump& pump) { pump.pause(true); });
}

void RecordIntake::resume() {
  post([](RecordIntakePump& pump) { pump.pause(false); });
}

void RecordIntake::cancel(std::string reason) {
  post([reason = std::move(reason)](RecordIntakePump& pump) { pump.cancel(reason); });
}

void RecordIntake::release() {
  core_->released = true;
  core_->kept.reset();
}

RecordIntake::Progress RecordIntake::progress() const {
  return {.received = core_->received.load(std::memory_order_relaxed),
          .settled = core_->settled.load(std::memory_order_relaxed),
          .settled_bytes = core_->settled_bytes.load(std::memory_order_relaxed)};
}

RecordIntake start_intake(DataLoops& loops, std::unique_ptr<RecordSink> sink, RecordIntakeOptions options,
                          RecordIntakeCallbacks callbacks) {
  REQUIRE(sink != nullptr);
  REQUIRE(callbacks.on_end != nullptr);
  bool dials = callbacks.dial != nullptr;
  auto core = std::make_shared<RecordIntakeCore>(options.owner, std::move(callbacks));
  auto seat = loops.take_seat();
  if (!seat) {
    RecordIntakeEnd end{.kind = RecordIntakeEnd::Kind::failed_local,
                        .error_number = seat.error(),
                        .message = why_no_seat(seat.error())};
    post_end(core, std::move(end), std::move(sink));
    return RecordIntake(std::move(core), {}, std::nullopt);
  }
  auto loop = seat->mailbox();
  auto pump = std::make_shared<RecordIntakePump>(*std::move(seat), core, options, dials, std::move(sink));
  std::weak_ptr<RecordIntakePump> handle = pump;
  // The loop alone destroys it: it may hold buffers of the loop's.
  loop.post([pump = std::move(pump)] { pump->start(); });
  return RecordIntake(std::move(core), std::move(handle), loop);
}

}  // namespace sluice::link
