#include "link/record_supply_pump.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// How often a turn goes round before the other links of its loop have theirs.
constexpr int kRoundsPerTurn = 16;
// What is pulled before it is written: more would be out of the processor's cache again.
constexpr int kPullsPerRound = 2;
// Acknowledgements are short; a consumer that says more at once waits for the next turn.
constexpr std::size_t kReadSize = std::size_t{8} << 10;
constexpr int kReadsPerRound = 4;

constexpr const char* kShutsDown = "the node shuts down";

}  // namespace

void post_end(const std::shared_ptr<RecordSupplyCore>& core, RecordSupplyEnd end) {
  net::asio::post(core->owner, [core, end = std::move(end)]() mutable {
    if (core->dropped) return;
    auto on_end = std::move(core->callbacks.on_end);
    on_end(std::move(end));
  });
}

RecordSupplyPump::RecordSupplyPump(DataLoops::Seat seat, std::shared_ptr<RecordSupplyCore> core,
                                   const RecordSupplyOptions& options, std::unique_ptr<RecordSource> source)
    : seat_(std::move(seat)),
      core_(std::move(core)),
      options_(options),
      source_(std::move(source)),
      producer_(options.producer),
      alarm_(seat_.executor()) {}

void RecordSupplyPump::start() {
  seat_.enter(self());
  if (state_ != State::moving) return;
  auto opened = source_->open(seat_, LoopWaker(seat_.mailbox(), self()));
  if (!opened) end(RecordSupplyEnd::Kind::failed_local, std::move(opened.error()));
  on_ready();
}

void RecordSupplyPump::on_ready() {
  auto keep_alive = self();
  if (state_ == State::moving) turn();
  if (state_ != State::leaving) return;
  std::erase_if(leaving_, [&](RecordWire& wire) { return wire.left(seat_, self()); });
  if (leaving_.empty()) vanish();
}

void RecordSupplyPump::on_loop_closing() {
  auto keep_alive = self();
  if (state_ == State::moving) {
    producer_.cancel(kShutsDown);
    end(RecordSupplyEnd::Kind::cancelled, kShutsDown);
  }
  for (RecordWire& wire : leaving_) static_cast<void>(wire.send(seat_, self()));  // what can go at once
  vanish();
}

// --- what the owner wants -----------------------------------------------------------------------------------------

void RecordSupplyPump::connect(ConsumerNumber number, std::uint32_t generation, net::Connection::Parts parts) {
  if (state_ != State::moving) return;
  RecordWire wire(seat_, std::move(parts));
  auto taken = producer_.on_connected(number, generation);
  take_note_of(number);
  if (taken) {
    connections_.erase(number);
    connections_.try_emplace(number, std::move(wire), Clock::now() + options_.attach_max);
  } else {
    wire.put(encode(RecordCancel{.reason = taken.error()}));
    wire.leave(self(), options_.farewell_max);
    leaving_.push_back(std::move(wire));
    tell(RecordConsumerRefused{.consumer = number, .reason = std::move(taken.error())});
  }
  on_ready();
}

void RecordSupplyPump::lose(ConsumerNumber number, std::string reason) {
  if (state_ != State::moving) return;
  take_note_of(number);
  producer_.on_lost(number, std::move(reason));
  on_ready();
}

// One more that is awaited no longer: the patience at the end begins anew.
void RecordSupplyPump::take_note_of(ConsumerNumber number) {
  if (known_.insert(number).second) end_until_.reset();
}

void RecordSupplyPump::retry(RecordBatch record) {
  if (state_ != State::moving) return;
  producer_.retry(std::move(record));
  on_ready();
}

void RecordSupplyPump::bury(const RecordBatch& record) {
  if (state_ != State::moving) return;
  producer_.bury(record);
  on_ready();
}

void RecordSupplyPump::cancel(const std::string& reason) {
  if (state_ != State::moving) return;
  producer_.cancel(reason);
  end(RecordSupplyEnd::Kind::cancelled, reason);
  on_ready();
}

// --- a turn -------------------------------------------------------------------------------------------------------

void RecordSupplyPump::turn() {
  TimePoint now = Clock::now();
  look_after(now);
  bool moved = true;
  for (int round = 0; moved && round < kRoundsPerTurn; ++round) {
    moved = read_all(now);
    moved = pull() || moved;
    if (state_ != State::moving) return;
    moved = tell_owner() || moved;
    moved = write_all(now) || moved;
    tell_source();
    if (see_to_end(now)) return;
  }
  publish();
  set_alarm(now);
  // One more turn at a time: who is told twice must not take twice the others' time from then on.
  if (!moved || std::exchange(turn_posted_, true)) return;
  seat_.mailbox().post([self = self()] {
    self->turn_posted_ = false;
    self->on_ready();
  });
}

void RecordSupplyPump::look_after(TimePoint now) {
  if (alarm_.take_expired()) alarm_at_.reset();
  producer_.on_deadline(now);
  for (auto next = connections_.begin(); next != connections_.end();) {
    auto connection = next++;
    bool late = connection->second.attach_until <= now && !producer_.attached(connection->first);
    if (late || !connection->second.wire.alive(self()))
      lose_connection(connection, now);
    else
      look_for_stall(connection->first, connection->second, now);
  }
  std::erase_if(leaving_, [&](RecordWire& wire) { return wire.left(seat_, self()); });
}

void RecordSupplyPump::look_for_stall(ConsumerNumber number, Connection& connection, TimePoint now) {
  std::uint64_t taken = connection.wire.taken_bytes();
  if (!connection.wire.holds_bytes() || std::exchange(connection.taken, taken) != taken) connection.moved = now;
  if (now - connection.moved < options_.stall_max) return;
  auto seconds = std::chrono::duration<double>(options_.stall_max).count();
  producer_.on_lost(number, fmt::format("it read nothing for {} s of what it had granted credit for", seconds));
}

bool RecordSupplyPump::read_all(TimePoint now) {
  bool moved = false;
  for (auto next = connections_.begin(); next != connections_.end();) {
    auto connection = next++;
    if (!connection->second.wire.input_ready()) continue;
    moved = true;
    if (!read(connection->first, connection->second)) lose_connection(connection, now);
  }
  return moved;
}

// False: the connection broke. One that broke a rule is parted from when there is writing.
bool RecordSupplyPump::read(ConsumerNumber number, Connection& connection) {
  std::array<std::byte, kReadSize> bytes;
  for (int i = 0; i < kReadsPerRound && producer_.connected(number); ++i) {
    auto got = connection.wire.read({}, bytes, self());
    if (!got) return false;
    if (*got > 0 && !producer_.on_bytes(number, std::span(bytes).first(*got))) return true;
    if (*got < bytes.size()) return true;
  }
  return true;
}

bool RecordSupplyPump::pull() {
  bool moved = false;
  for (int i = 0; i < kPullsPerRound && producer_.wants_input(); ++i) {
    auto pulled = source_->pull();
    if (!pulled) {
      producer_.cancel(pulled.error());
      end(RecordSupplyEnd::Kind::failed_local, std::move(pulled.error()));
      return false;
    }
    bool came = !pulled->batch.empty();
    if (came) producer_.on_batch(std::move(pulled->batch));
    if (pulled->status == RecordSource::Status::ended) producer_.on_source_end();
    // A part of a long record is no batch yet, and was read all the same.
    moved = moved || came || pulled->status != RecordSource::Status::waits;
    if (pulled->status != RecordSource::Status::more) break;
  }
  return moved;
}

bool RecordSupplyPump::write_all(TimePoint now) {
  bool moved = false;
  for (auto next = connections_.begin(); next != connections_.end();) {
    auto connection = next++;
    if (!producer_.connected(connection->first)) {
      part_from(connection);
      moved = true;
      continue;
    }
    auto wrote = write(connection->first, connection->second);
    if (!wrote) lose_connection(connection, now);
    moved = moved || !wrote || *wrote;
  }
  return moved;
}

// Whether there was anything to write.
std::expected<bool, LinkSocket::Broken> RecordSupplyPump::write(ConsumerNumber number, Connection& connection) {
  bool moved = false;
  while (true) {
    bool fresh = false, had_room = connection.wire.has_room();
    while (connection.wire.has_room()) {
      auto frame = producer_.poll_transmit(number);
      if (!frame) break;
      connection.wire.put(*std::move(frame));
      fresh = true;
    }
    auto all = connection.wire.send(seat_, self());
    if (!all) return all;
    moved = moved || fresh;
    if (!*all || (had_room && !fresh)) return moved;
  }
}

void RecordSupplyPump::lose_connection(Connections::iterator connection, TimePoint now) {
  ConsumerNumber number = connection->first;
  connections_.erase(connection);
  producer_.on_disconnected(number, now);
}

// The machine takes it for over or gone, and may have a last word for it.
void RecordSupplyPump::part_from(Connections::iterator connection) {
  RecordWire wire = std::move(connection->second.wire);
  bool has_word = false;
  while (auto frame = producer_.poll_transmit(connection->first)) {
    wire.put(*std::move(frame));
    has_word = true;
  }
  connections_.erase(connection);
  if (!has_word) return wire.close();
  wire.leave(self(), options_.farewell_max);
  if (!wire.left(seat_, self())) leaving_.push_back(std::move(wire));
}

void RecordSupplyPump::part_from_all() {
  while (!connections_.empty()) part_from(connections_.begin());
}

// --- what others are told -----------------------------------------------------------------------------------------

void RecordSupplyPump::tell(RecordSupplyEvent event) {
  net::asio::post(core_->owner, [core = core_, event = std::move(event)]() mutable {
    if (!core->dropped && core->callbacks.on_event) core->callbacks.on_event(std::move(event));
  });
}

bool RecordSupplyPump::tell_owner() {
  bool told = false;
  while (auto event = producer_.poll_event()) {
    told = true;
    std::optional<std::pair<ConsumerNumber, std::string>> cancelled;
    if (const auto* cancel = std::get_if<RecordConsumerCancelled>(&*event))
      cancelled.emplace(cancel->consumer, cancel->reason);
    std::visit([&](auto&& one) { tell(std::move(one)); }, *std::move(event));
    if (cancelled) producer_.on_lost(cancelled->first, std::move(cancelled->second));
  }
  return told;
}

void RecordSupplyPump::tell_source() {
  RecordCounts counts = producer_.counts();
  std::uint64_t settled = counts.acknowledged + counts.buried;
  if (settled == std::exchange(settled_told_, settled)) return;
  source_->on_settled(producer_.settled_below());
}

void RecordSupplyPump::publish() {
  RecordCounts counts = producer_.counts();
  core_->accepted.store(counts.accepted, std::memory_order_relaxed);
  core_->acknowledged.store(counts.acknowledged, std::memory_order_relaxed);
  core_->waiting_bytes.store(producer_.waiting_bytes(), std::memory_order_relaxed);
}

// --- the end ------------------------------------------------------------------------------------------------------

// True: the end was reported.
bool RecordSupplyPump::see_to_end(TimePoint now) {
  if (!producer_.all_settled()) return false;
  bool all_came = known_.size() >= options_.consumers;
  if (!end_until_) {
    Duration patience = options_.farewell_max;
    if (!all_came) patience = std::max(patience, options_.producer.reattach_max);
    end_until_ = now + patience;
  }
  bool over = all_came && producer_.finished();
  if (!over && now < *end_until_) return false;
  tell_owner();
  end(RecordSupplyEnd::Kind::ended, {});
  return true;
}

void RecordSupplyPump::set_alarm(TimePoint now) {
  std::optional<TimePoint> next = producer_.poll_deadline();
  auto also = [&](TimePoint when) { next = std::min(next.value_or(when), when); };
  if (end_until_) also(*end_until_);
  for (const auto& [number, connection] : connections_)
    if (!producer_.attached(number)) also(connection.attach_until);
  for (const auto& [number, connection] : connections_)
    if (connection.wire.holds_bytes()) also(connection.moved + options_.stall_max);
  // One that goes off early does no harm.
  if (!next || (alarm_at_ && *alarm_at_ <= *next)) return;
  alarm_at_ = next;
  alarm_.set(std::max(*next - now, Duration::zero()), self());
}

void RecordSupplyPump::end(RecordSupplyEnd::Kind kind, std::string message) {
  INVARIANT(state_ == State::moving);
  state_ = State::leaving;
  publish();
  part_from_all();
  source_->close();
  source_.reset();
  post_end(core_, {.kind = kind, .message = std::move(message), .counts = producer_.counts()});
}

void RecordSupplyPump::vanish() {
  if (std::exchange(state_, State::gone) == State::gone) return;
  leaving_.clear();
  alarm_.cancel();
  seat_.leave(this);
}

}  // namespace sluice::link
