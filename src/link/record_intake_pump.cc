#include "link/record_intake_pump.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>
#include <variant>

#include "base/require.h"

namespace sluice::link {
namespace {

// How often a turn goes round before the other links of its loop have theirs.
constexpr int kRoundsPerTurn = 16;
// Of frames whose end is far, this much more is read behind it: the head of the next one. Else as much as there is, to
// be cut into small frames.
constexpr std::size_t kFarEnd = std::size_t{16} << 10;
constexpr std::size_t kScratchBehindFarEnd = std::size_t{4} << 10;
constexpr std::size_t kScratch = std::size_t{64} << 10;
static_assert(kScratch <= kBufferSize);

constexpr const char* kShutsDown = "the node shuts down";

RecordConsumerOptions with_blocks(RecordConsumerOptions options, const DataLoops::Seat& seat) {
  options.blocks = seat.record_blocks();
  return options;
}

}  // namespace

void post_end(const std::shared_ptr<RecordIntakeCore>& core, RecordIntakeEnd end, std::unique_ptr<RecordSink> sink) {
  net::asio::post(core->owner, [core, end = std::move(end), sink = std::move(sink)]() mutable {
    if (core->dropped) return;
    if (end.kind != RecordIntakeEnd::Kind::ended && !core->released) core->kept = std::move(sink);
    auto on_end = std::move(core->callbacks.on_end);
    on_end(std::move(end));
  });
}

RecordIntakePump::RecordIntakePump(DataLoops::Seat seat, std::shared_ptr<RecordIntakeCore> core,
                                   const RecordIntakeOptions& options, bool dials, std::unique_ptr<RecordSink> sink)
    : seat_(std::move(seat)),
      core_(std::move(core)),
      options_(options),
      dials_(dials),
      sink_(std::move(sink)),
      consumer_(with_blocks(options.consumer, seat_)),
      redial_after_(options.redial_min),
      alarm_(seat_.executor()) {}

void RecordIntakePump::start() {
  seat_.enter(self());
  if (state_ != State::moving) return;
  TimePoint now = Clock::now();
  missing_until_ = now + options_.reattach_max;
  if (dials_) dial_at_ = now;
  auto opened = sink_->open(seat_, LoopWaker(seat_.mailbox(), self()));
  if (!opened) fail(std::move(opened.error()));
  on_ready();
}

void RecordIntakePump::on_ready() {
  auto keep_alive = self();
  if (state_ == State::moving) turn();
  if (state_ == State::leaving && (!wire_ || wire_->left(seat_, self()))) vanish();
}

void RecordIntakePump::on_loop_closing() {
  auto keep_alive = self();
  if (state_ == State::moving) {
    consumer_.cancel(kShutsDown);
    end(Kind::cancelled, kShutsDown);
  }
  if (wire_) static_cast<void>(wire_->send(seat_, self()));  // what can go at once
  vanish();
}

// --- what the owner wants -----------------------------------------------------------------------------------------

void RecordIntakePump::connect(net::Connection::Parts parts) {
  if (state_ != State::moving) return;
  if (wire_) consumer_.on_disconnected();
  wire_.reset();
  wire_.emplace(seat_, std::move(parts));
  dial_at_.reset();
  connected_at_ = Clock::now();
  heard_ = false;
  consumer_.on_connected();
  on_ready();
}

void RecordIntakePump::on_dialled(std::uint32_t attempt, RecordDialled dialled) {
  if (state_ != State::moving || attempt != attempt_ || wire_) return;  // too late
  if (dialled) return connect(*std::move(dialled));
  why_cut_ = std::move(dialled.error().why);
  if (dialled.error().for_good) {
    end(consumer_.ended() ? Kind::ended : Kind::aborted, consumer_.ended() ? std::string() : why_cut_);
  } else {
    dial_at_ = Clock::now() + redial_after_;
    redial_after_ = std::min(2 * redial_after_, options_.redial_max);
  }
  on_ready();
}

void RecordIntakePump::drain() {
  consumer_.drain();
  on_ready();
}

void RecordIntakePump::pause(bool on) {
  on ? consumer_.pause() : consumer_.resume();
  on_ready();
}

void RecordIntakePump::cancel(const std::string& reason) {
  if (state_ != State::moving) return;
  consumer_.cancel(reason);
  end(Kind::cancelled, reason);
  on_ready();
}

// --- a turn -------------------------------------------------------------------------------------------------------

void RecordIntakePump::turn() {
  TimePoint now = Clock::now();
  look_after(now);
  bool moved = true;
  for (int round = 0; moved && state_ == State::moving && round < kRoundsPerTurn; ++round) {
    moved = read(now);
    if (state_ == State::moving) moved = hand_out(now) || moved;
    if (state_ == State::moving) moved = write(now) || moved;
    if (see_to_end(now)) return;
  }
  if (state_ != State::moving) return;
  publish();
  set_alarm(now);
  // One more turn at a time: who is told twice must not take twice the others' time from then on.
  if (!moved || std::exchange(turn_posted_, true)) return;
  seat_.mailbox().post([self = self()] {
    self->turn_posted_ = false;
    self->on_ready();
  });
}

void RecordIntakePump::look_after(TimePoint now) {
  if (alarm_.take_expired()) alarm_at_.reset();
  if (wire_) {
    auto alive = wire_->alive(self());
    if (!alive) lose_connection(now, std::move(alive.error()));
  }
  if (dial_at_ && *dial_at_ <= now) dial();
}

// Whether anything came.
bool RecordIntakePump::read(TimePoint now) {
  if (!wire_ || !wire_->input_ready()) return false;
  BatchBuffer buffer = seat_.take_buffer();
  return read_some(now, buffer.bytes());
}

bool RecordIntakePump::read_some(TimePoint now, std::span<std::byte> scratch) {
  auto vacant = consumer_.vacant();
  scratch = scratch.first(vacant.size() >= kFarEnd ? kScratchBehindFarEnd : kScratch);
  auto got = wire_->read(vacant, scratch, self());
  if (!got) {
    lose_connection(now, std::move(got.error()));
    return true;
  }
  heard_ = heard_ || *got > 0;
  std::size_t in_place = std::min(*got, vacant.size());
  consumer_.commit(in_place);
  auto taken = consumer_.on_bytes(scratch.first(*got - in_place), now);
  if (!taken) end(Kind::cut, fmt::format("{} broke the protocol: {}", wire_->remote(), taken.error()));
  if (*got == 0) wire_->expect(std::max(vacant.size(), std::size_t{1}));
  return *got > 0;
}

// Whether the sink took or settled anything.
bool RecordIntakePump::hand_out(TimePoint now) {
  auto worked = sink_->work();
  if (!worked) {
    fail(std::move(worked.error()));
    return true;
  }
  bool moved = settle(now);
  while (auto room = sink_->room()) {
    auto delivery = consumer_.poll_delivery(*room, now);
    if (!delivery) break;
    sink_->take(*std::move(delivery));
    moved = true;
  }
  return settle(now) || moved;
}

bool RecordIntakePump::settle(TimePoint now) {
  bool moved = false;
  while (auto settled = sink_->poll_settled()) {
    moved = true;
    if (const auto* range = std::get_if<DeliveryRange>(&*settled)) {
      consumer_.settle(*range, now);
    } else {
      auto& nack = std::get<RecordNack>(*settled);
      consumer_.reject(nack.delivery, nack.cause, std::move(nack.reason));
    }
  }
  return moved;
}

bool RecordIntakePump::write(TimePoint now) {
  if (!wire_) return false;
  bool moved = false;
  while (wire_->has_room()) {
    auto frame = consumer_.poll_transmit(now);
    if (!frame) break;
    wire_->put(*std::move(frame));
    moved = true;
  }
  auto sent = wire_->send(seat_, self());
  if (!sent) lose_connection(now, std::move(sent.error()));
  return moved || !sent;
}

// True: the end was reported.
bool RecordIntakePump::see_to_end(TimePoint now) {
  if (state_ != State::moving) return true;
  if (consumer_.finished() || (consumer_.ended() && !wire_)) {
    end(Kind::ended, {});
  } else if (consumer_.cancelled()) {
    end(Kind::aborted, *consumer_.cancelled());
  } else if (!wire_ && now >= missing_until_) {
    end(Kind::cut, why_cut_);
  }
  return state_ != State::moving;
}

// A connection that was of no use, because it was closed as soon as it was made, counts like an attempt that failed.
void RecordIntakePump::lose_connection(TimePoint now, std::string why) {
  wire_.reset();
  consumer_.on_disconnected();
  why_cut_ = std::move(why);
  bool was_of_use = heard_ || now - connected_at_ >= options_.redial_max;
  if (was_of_use) {
    missing_until_ = now + options_.reattach_max;
    redial_after_ = options_.redial_min;
  }
  if (!dials_) return;
  dial_at_ = was_of_use ? now : now + redial_after_;
  if (!was_of_use) redial_after_ = std::min(2 * redial_after_, options_.redial_max);
}

void RecordIntakePump::dial() {
  dial_at_.reset();
  ++attempt_;
  // Any thread may answer, also when nobody waits for it any more.
  auto answer = [loop = seat_.mailbox(), pump = weak_from_this(), attempt = attempt_](RecordDialled dialled) {
    loop.post([pump, attempt, dialled = std::move(dialled)]() mutable {
      if (auto running = pump.lock()) running->on_dialled(attempt, std::move(dialled));
    });
  };
  net::asio::post(core_->owner,
                  [core = core_, attempt = attempt_, until = missing_until_, answer = std::move(answer)]() mutable {
                    if (!core->dropped && core->callbacks.dial) core->callbacks.dial(attempt, until, std::move(answer));
                  });
}

void RecordIntakePump::set_alarm(TimePoint now) {
  std::optional<TimePoint> next = consumer_.poll_deadline();
  auto also = [&](TimePoint when) { next = std::min(next.value_or(when), when); };
  if (!wire_) also(missing_until_);
  if (dial_at_) also(*dial_at_);
  // One that goes off early does no harm.
  if (!next || (alarm_at_ && *alarm_at_ <= *next)) return;
  alarm_at_ = next;
  alarm_.set(std::max(*next - now, Duration::zero()), self());
}

void RecordIntakePump::publish() {
  core_->received.store(consumer_.received(), std::memory_order_relaxed);
  core_->settled.store(consumer_.settled(), std::memory_order_relaxed);
  core_->settled_bytes.store(consumer_.settled_bytes(), std::memory_order_relaxed);
}

// --- the end ------------------------------------------------------------------------------------------------------

void RecordIntakePump::fail(RecordSink::Failure failure) {
  consumer_.cancel(failure.why);
  end(failure.reader_gone ? Kind::reader_closed : Kind::failed_local, std::move(failure.why), failure.error_number);
}

void RecordIntakePump::end(Kind kind, std::string message, int error_number) {
  INVARIANT(state_ == State::moving);
  state_ = State::leaving;
  publish();
  if (wire_) {
    while (auto frame = consumer_.poll_transmit(Clock::now())) wire_->put(*std::move(frame));
    wire_->leave(self(), options_.farewell_max);
  }
  sink_->close();
  RecordIntakeEnd report{.kind = kind,
                         .error_number = error_number,
                         .received = consumer_.received(),
                         .settled = consumer_.settled(),
                         .message = std::move(message)};
  post_end(core_, std::move(report), std::move(sink_));
}

void RecordIntakePump::vanish() {
  if (std::exchange(state_, State::gone) == State::gone) return;
  wire_.reset();
  alarm_.cancel();
  seat_.leave(this);
}

}  // namespace sluice::link
