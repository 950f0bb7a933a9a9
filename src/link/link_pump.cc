#include "link/link_pump.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// A link moves much when this many bytes took less than that time. With pipes of 64 KiB four processes on two cores wake
// each other for every one of them, which costs as much as moving the bytes.
constexpr std::uint64_t kMuch = std::uint64_t{16} << 20;
constexpr std::chrono::seconds kMuchTime{1};
// The largest pipe that an ordinary user may have, and what a link takes for its two.
constexpr std::size_t kLargePipe = std::size_t{1} << 20;

// Whether the descriptor's other user may see it close as soon as the owner has heard of the end.
bool closes_by_itself(LinkEnd::Kind kind) {
  return kind == LinkEnd::Kind::ended || kind == LinkEnd::Kind::reader_closed;
}

// On the owner's thread.
void tell(LinkCore& core, LinkEnd end, UniqueFd descriptor) {
  if (core.dropped) return;
  bool keep = !closes_by_itself(end.kind) && !core.released;
  if (keep) core.kept = std::move(descriptor);
  auto on_end = std::move(core.on_end);
  on_end(std::move(end));
}

}  // namespace

LinkPump::LinkPump(DataLoops::Seat seat, std::shared_ptr<LinkCore> core, const LinkOptions& options)
    : seat_(std::move(seat)), core_(std::move(core)), options_(options) {}

void LinkPump::start() {
  seat_.enter(self());
  if (state_ == State::moving) open();
  on_ready();
}

void LinkPump::on_ready() {
  auto keep_alive = self();
  if (state_ == State::moving) turn();
  if (state_ == State::leaving && has_left()) vanish();
}

void LinkPump::turn() {
  if (look() == Step::over) return;
  for (int batch = 0; batch < kBatchesPerTurn; ++batch)
    if (move_some() != Step::moved) return;
  // One more turn at a time: who is told twice must not take twice the others' time from then on.
  if (std::exchange(turn_posted_, true)) return;
  seat_.mailbox().post([self = self()] {
    self->turn_posted_ = false;
    self->on_ready();
  });
}

void LinkPump::count(std::size_t bytes) {
  std::uint64_t moved = core_->moved.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (!enlarged_ && moved - weighed_ >= kMuch) weigh();
}

void LinkPump::weigh() {
  TimePoint now = Clock::now();
  bool much = now - weighed_at_ < kMuchTime;
  weighed_ = core_->moved.load(std::memory_order_relaxed);
  weighed_at_ = now;
  enlarged_ = much && seat_.take_pipe_room(2 * kLargePipe);
  if (enlarged_) enlarge_pipes(kLargePipe);
}

void LinkPump::cancel(const std::string& reason) {
  if (state_ != State::moving) return;
  bool last_words = say_cancelled(reason);
  report(LinkEnd::Kind::cancelled, reason);
  last_words ? leave() : vanish();
  on_ready();
}

void LinkPump::on_loop_closing() {
  auto keep_alive = self();
  if (state_ == State::moving) {
    say_cancelled("the node shuts down");
    report(LinkEnd::Kind::cancelled, "the node shuts down");
  }
  vanish();
}

void LinkPump::report(LinkEnd::Kind kind, std::string message, int error_number) {
  INVARIANT(!reported_);
  reported_ = true;
  LinkEnd end{.kind = kind,
              .error_number = error_number,
              .bytes = core_->moved.load(std::memory_order_relaxed),
              .message = std::move(message)};
  UniqueFd descriptor = take_descriptor();
  // A program that writes to a reader that is gone learns it at once; the owner's thread may be busy.
  if (kind == LinkEnd::Kind::reader_closed) descriptor.reset();
  net::asio::post(core_->owner, [core = core_, end = std::move(end), descriptor = std::move(descriptor)]() mutable {
    tell(*core, std::move(end), std::move(descriptor));
  });
}

LinkPump::Step LinkPump::leave() {
  state_ = State::leaving;
  return Step::over;
}

LinkPump::Step LinkPump::vanish() {
  if (std::exchange(state_, State::gone) == State::gone) return Step::over;
  close_all();
  seat_.leave(this);
  return Step::over;
}

}  // namespace sluice::link
