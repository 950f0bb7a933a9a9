#include "link/byte_link.h"

#include <boost/asio/post.hpp>
#include <string>
#include <utility>

#include "link/byte_relay.h"
#include "link/byte_sink.h"
#include "link/byte_source.h"
#include "link/link_pump.h"

namespace sluice::link {
namespace {

// Without a loop the link ends before it began; the descriptor is kept as after any failure.
ByteLink refuse(std::shared_ptr<LinkCore> core, UniqueFd descriptor, int error) {
  core->kept = std::move(descriptor);
  net::asio::post(core->owner, [core, error] {
    if (core->dropped) return;
    auto on_end = std::move(core->on_end);
    on_end({.kind = LinkEnd::Kind::failed_local, .error_number = error, .message = why_no_seat(error)});
  });
  return ByteLink(std::move(core), {}, std::nullopt);
}

ByteLink run(std::shared_ptr<LinkCore> core, std::shared_ptr<LinkPump> pump, const LoopMailbox& loop) {
  std::weak_ptr<LinkPump> handle = pump;
  // The loop alone destroys it: it may hold buffers of the loop's.
  loop.post([pump = std::move(pump)] { pump->start(); });
  return ByteLink(std::move(core), std::move(handle), loop);
}

}  // namespace

ByteLink::ByteLink(std::shared_ptr<LinkCore> core, std::weak_ptr<LinkPump> pump, std::optional<LoopMailbox> loop)
    : core_(std::move(core)), pump_(std::move(pump)), loop_(std::move(loop)) {}

ByteLink& ByteLink::operator=(ByteLink&& other) noexcept {
  if (this == &other) return *this;
  drop();
  core_ = std::move(other.core_);
  pump_ = std::move(other.pump_);
  loop_ = std::move(other.loop_);
  return *this;
}

ByteLink::~ByteLink() { drop(); }

void ByteLink::drop() {
  if (!core_) return;
  core_->dropped = true;
  release();
  cancel("nobody waits for the link any more");
  core_.reset();
}

std::uint64_t ByteLink::moved() const { return core_->moved.load(std::memory_order_relaxed); }

void ByteLink::cancel(std::string reason) {
  if (!loop_ || pump_.expired()) return;
  loop_->post([pump = pump_, reason = std::move(reason)] {
    if (auto running = pump.lock()) running->cancel(reason);
  });
}

void ByteLink::release() {
  core_->released = true;
  core_->kept.reset();
}

ByteLink start_source(DataLoops& loops, UniqueFd from, net::Connection::Parts to, LinkOptions options, OnEnd on_end) {
  auto core = std::make_shared<LinkCore>(options.owner, std::move(on_end));
  auto seat = loops.take_seat();
  if (!seat) return refuse(std::move(core), std::move(from), seat.error());
  auto loop = seat->mailbox();
  auto pump = std::make_shared<ByteSource>(*std::move(seat), core, options, std::move(from), std::move(to));
  return run(std::move(core), std::move(pump), loop);
}

ByteLink start_sink(DataLoops& loops, net::Connection::Parts from, UniqueFd into, LinkOptions options, OnEnd on_end) {
  auto core = std::make_shared<LinkCore>(options.owner, std::move(on_end));
  auto seat = loops.take_seat();
  if (!seat) return refuse(std::move(core), std::move(into), seat.error());
  auto loop = seat->mailbox();
  auto pump = std::make_shared<ByteSink>(*std::move(seat), core, options, std::move(from), std::move(into));
  return run(std::move(core), std::move(pump), loop);
}

ByteLink start_relay(DataLoops& loops, net::Connection::Parts producer, net::Connection::Parts consumer,
                     LinkOptions options, OnEnd on_end) {
  auto core = std::make_shared<LinkCore>(options.owner, std::move(on_end));
  auto seat = loops.take_seat();
  if (!seat) return refuse(std::move(core), UniqueFd(), seat.error());
  auto loop = seat->mailbox();
  auto pump = std::make_shared<ByteRelay>(*std::move(seat), core, options, std::move(producer), std::move(consumer));
  return run(std::move(core), std::move(pump), loop);
}

}  // namespace sluice::link
