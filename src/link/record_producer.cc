#include "link/record_producer.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// Of one delivery, so that the table of their sizes stays small however short they are.
constexpr std::uint32_t kBatchRecordsMax = 1 << 16;
static_assert(kBatchHeadSize + kBatchRecordsMax * kRecordSizeWidth < kRecordFrameMax / 2);

/// The part of a batch whose first record is delivery `first`.
RecordBatch slice(RecordBatch batch, DeliveryNumber first, DeliveryRange part) {
  if (part.first > first) batch.drop_front(static_cast<std::uint32_t>(part.first - first));
  return batch.take_front(static_cast<std::uint32_t>(part.last - part.first + 1));
}

// How much of what was granted beyond `settled` is used; a long record may use more than all.
double share_used(std::uint64_t used, std::uint64_t settled, std::uint64_t granted) {
  return granted <= settled ? 1.0 : static_cast<double>(used) / static_cast<double>(granted - settled);
}

}  // namespace

// --- the source ---------------------------------------------------------------------------------------------------

bool RecordProducer::wants_input() const {
  return !source_ended_ && !cancelled_ && pending_.bytes() + held_bytes_ < options_.pending_bytes_max &&
         pending_.count() + held_.size() < options_.pending_records_max;
}

void RecordProducer::on_batch(RecordBatch batch) {
  REQUIRE(wants_input());
  if (batch.empty()) return;
  REQUIRE(batch.first() > last_accepted_);
  last_accepted_ = batch.last();
  accepted_ += batch.count();
  pending_.put(std::move(batch));
  proceed();
}

void RecordProducer::on_source_end() {
  source_ended_ = true;
  proceed();
}

void RecordProducer::cancel(std::string reason) {
  if (cancelled_) return;
  cancelled_ = true;
  for (auto& [number, consumer] : consumers_)
    if (consumer.has_connection()) consumer.control.push_back(encode(RecordCancel{.reason = reason}));
}

// --- connections --------------------------------------------------------------------------------------------------

std::expected<void, std::string> RecordProducer::on_connected(ConsumerNumber number, std::uint32_t generation) {
  auto [place, is_new] = consumers_.try_emplace(number);
  Consumer& consumer = place->second;
  if (!is_new && generation < consumer.generation)
    return std::unexpected(fmt::format("generation {} of consumer {} was replaced by generation {}", generation, number,
                                       consumer.generation));
  if (is_new || generation > consumer.generation) {
    if (!is_new && consumer.state != State::over && consumer.state != State::gone)
      make_gone(consumer, fmt::format("generation {} took its place", generation));
    consumer = Consumer();
    consumer.number = number;
    consumer.generation = generation;
    if (cancelled_) consumer.control.push_back(encode(RecordCancel{.reason = "the link was cancelled"}));
    return {};
  }
  if (consumer.state == State::over || consumer.state == State::gone)
    return std::unexpected(fmt::format("generation {} of consumer {} is over", generation, number));
  consumer.restart_connection();
  return {};
}

void RecordProducer::Consumer::restart_connection() {
  state = State::connecting;
  paused = false;  // what still holds is said again
  decoder = ConsumerFrameDecoder();
  pieces.clear();
  pieces_of = RecordBatch();
  control.clear();
}

void RecordProducer::on_disconnected(ConsumerNumber number, TimePoint now) {
  auto place = consumers_.find(number);
  if (place == consumers_.end() || !place->second.has_connection()) return;
  place->second.restart_connection();
  place->second.state = State::cut;
  place->second.reattach_until = now + options_.reattach_max;
}

void RecordProducer::on_lost(ConsumerNumber number, std::string reason) {
  auto place = consumers_.find(number);
  if (place == consumers_.end()) return;
  if (place->second.state == State::over || place->second.state == State::gone) return;
  make_gone(place->second, std::move(reason));
  proceed();
}

void RecordProducer::on_deadline(TimePoint now) {
  for (auto& [number, consumer] : consumers_)
    if (consumer.state == State::cut && consumer.reattach_until <= now)
      make_gone(consumer, "its connection broke, and it did not come back");
  proceed();
}

std::optional<TimePoint> RecordProducer::poll_deadline() const {
  std::optional<TimePoint> next;
  for (const auto& [number, consumer] : consumers_)
    if (consumer.state == State::cut) next = std::min(next.value_or(consumer.reattach_until), consumer.reattach_until);
  return next;
}

bool RecordProducer::connected(ConsumerNumber number) const {
  auto place = consumers_.find(number);
  return place != consumers_.end() && place->second.has_connection();
}

bool RecordProducer::attached(ConsumerNumber number) const {
  return connected(number) && consumers_.at(number).state != State::connecting;
}

void RecordProducer::make_gone(Consumer& consumer, std::string reason) {
  bool can_be_told = consumer.has_connection();
  std::uint64_t given_back = give_back(consumer);
  consumer.restart_connection();
  consumer.state = State::gone;
  if (can_be_told) consumer.control.push_back(encode(RecordCancel{.reason = reason}));
  events_.push_back(
      RecordConsumerGone{.consumer = consumer.number, .given_back = given_back, .reason = std::move(reason)});
}

std::uint64_t RecordProducer::give_back(Consumer& consumer) {
  std::uint64_t count = consumer.in_flight();
  for (const Flight& flight : consumer.flights)
    for (const DeliveryRange& part : consumer.settled.missing_in({.first = flight.first, .last = flight.last()}))
      pending_.put(slice(flight.batch, flight.first, part));
  consumer.flights.clear();
  consumer.settled = DeliverySet();
  consumer.assigned = 0;
  consumer.bytes_assigned = consumer.bytes_settled = 0;
  consumer.outbox_bytes = 0;
  return count;
}

// --- what consumers say -------------------------------------------------------------------------------------------

std::expected<void, std::string> RecordProducer::on_bytes(ConsumerNumber number, std::span<const std::byte> bytes) {
  auto place = consumers_.find(number);
  REQUIRE(place != consumers_.end());
  Consumer& consumer = place->second;
  while (consumer.has_connection()) {
    auto frame = consumer.decoder.next(bytes);
    Checked checked;
    if (!frame) checked = std::unexpected(frame.error());
    if (frame && !*frame) break;
    if (frame) checked = on_frame(consumer, **frame);
    if (checked) continue;
    make_gone(consumer, checked.error());
    proceed();
    return checked;
  }
  proceed();
  return {};
}

RecordProducer::Checked RecordProducer::on_frame(Consumer& consumer, const ConsumerFrame& frame) {
  bool attaches = std::holds_alternative<RecordAttach>(frame);
  bool cancels = std::holds_alternative<RecordCancel>(frame);
  if (attaches && consumer.state != State::connecting) return std::unexpected("it attached twice on one connection");
  if (!attaches && !cancels && consumer.state == State::connecting) return std::unexpected("it did not attach first");
  return std::visit([&](const auto& one) { return on(consumer, one); }, frame);
}

RecordProducer::Checked RecordProducer::on(Consumer& consumer, const RecordAttach& attach) {
  DeliveryNumber settled_last = consumer.settled.last();
  if (attach.next <= settled_last || attach.next > consumer.assigned + 1)
    return std::unexpected(fmt::format("it expects delivery {} where {} were settled and {} were given to it",
                                       attach.next, settled_last, consumer.assigned));
  auto flight = std::ranges::lower_bound(consumer.flights, attach.next, {}, &Flight::first);
  bool at_a_border =
      flight != consumer.flights.end() ? flight->first == attach.next : attach.next == consumer.assigned + 1;
  if (!at_a_border) return std::unexpected(fmt::format("it expects delivery {}, within a batch", attach.next));
  consumer.state = State::attached;
  consumer.transmitted = attach.next - 1;
  consumer.outbox_bytes = 0;
  for (; flight != consumer.flights.end(); ++flight) consumer.outbox_bytes += flight->batch.size();
  return {};
}

RecordProducer::Checked RecordProducer::on(Consumer& consumer, const RecordCredit& credit) {
  if (credit.deliveries < consumer.credit.deliveries || credit.bytes < consumer.credit.bytes)
    return std::unexpected("it took credit back");
  if (credit.deliveries > consumer.settled.size() + kCreditRecordsMax)
    return std::unexpected(fmt::format("it granted credit for more than {} records", kCreditRecordsMax));
  if (credit.bytes > consumer.bytes_assigned + kCreditBytesMax)
    return std::unexpected(fmt::format("it granted credit for more than {} bytes", kCreditBytesMax));
  consumer.credit = credit;
  return {};
}

RecordProducer::Checked RecordProducer::on(Consumer& consumer, const RecordAck& ack) {
  DeliveryNumber last = ack.ranges.empty() ? ack.up_to : ack.ranges.back().last;
  if (last > consumer.transmitted)
    return std::unexpected(fmt::format("it acknowledged delivery {}, and was sent {}", last, consumer.transmitted));
  if (ack.up_to > 0) acknowledge(consumer, {.first = 1, .last = ack.up_to});
  for (const DeliveryRange& range : ack.ranges) acknowledge(consumer, range);
  forget_settled_flights(consumer);
  return {};
}

void RecordProducer::acknowledge(Consumer& consumer, DeliveryRange range) {
  for (const DeliveryRange& part : consumer.settled.add(range)) acknowledged_ += part.last - part.first + 1;
}

void RecordProducer::forget_settled_flights(Consumer& consumer) {
  while (!consumer.flights.empty() && consumer.flights.front().last() <= consumer.settled.up_to()) {
    consumer.bytes_settled += consumer.flights.front().batch.size();
    consumer.flights.pop_front();
  }
}

RecordProducer::Checked RecordProducer::on(Consumer& consumer, const RecordNack& nack) {
  if (nack.delivery == 0 || nack.delivery > consumer.transmitted)
    return std::unexpected(
        fmt::format("it sent delivery {} back, and was sent {}", nack.delivery, consumer.transmitted));
  consumer.control.push_back(encode(RecordNoted{.delivery = nack.delivery}));
  if (consumer.settled.contains(nack.delivery)) return {};  // said again after a new connection
  auto behind = std::ranges::upper_bound(consumer.flights, nack.delivery, {}, &Flight::first);
  INVARIANT(behind != consumer.flights.begin());
  const Flight& flight = *std::prev(behind);
  RecordBatch record = slice(flight.batch, flight.first, {.first = nack.delivery, .last = nack.delivery});
  consumer.settled.add({.first = nack.delivery, .last = nack.delivery});
  forget_settled_flights(consumer);
  held_.emplace(record.first(), record.size());
  held_bytes_ += record.size();
  events_.push_back(RecordRejected{
      .consumer = consumer.number, .cause = nack.cause, .reason = nack.reason, .record = std::move(record)});
  return {};
}

RecordProducer::Checked RecordProducer::on(Consumer& consumer, const RecordPause&) {
  consumer.paused = true;
  return {};
}

RecordProducer::Checked RecordProducer::on(Consumer& consumer, const RecordResume&) {
  consumer.paused = false;
  return {};
}

RecordProducer::Checked RecordProducer::on(Consumer& consumer, const RecordDrain&) {
  consumer.draining = true;
  return {};
}

RecordProducer::Checked RecordProducer::on(Consumer& consumer, const RecordDone& done) {
  if (!consumer.told_end) return std::unexpected("it confirmed an end that it was not told");
  if (done.deliveries != consumer.assigned)
    return std::unexpected(
        fmt::format("it confirmed an end after {} deliveries, and was given {}", done.deliveries, consumer.assigned));
  consumer.state = State::over;
  if (!all_settled()) events_.push_back(RecordConsumerLeft{.consumer = consumer.number});
  return {};
}

RecordProducer::Checked RecordProducer::on(Consumer& consumer, const RecordCancel& cancel) {
  events_.push_back(RecordConsumerCancelled{.consumer = consumer.number, .reason = cancel.reason});
  return {};
}

// --- handing out --------------------------------------------------------------------------------------------------

void RecordProducer::proceed() {
  if (!cancelled_) {
    dispatch();
    say_ends();
  }
  check_invariants();
}

void RecordProducer::dispatch() {
  while (!pending_.empty()) {
    Consumer* readiest = nullptr;
    double used_least = std::numeric_limits<double>::infinity();
    std::uint64_t ready_count = 0;
    for (auto& [number, consumer] : consumers_) {
      if (!ready(consumer)) continue;
      ++ready_count;
      double used = std::max(share_used(consumer.in_flight(), consumer.settled.size(), consumer.credit.deliveries),
                             share_used(consumer.bytes_in_flight(), consumer.bytes_settled, consumer.credit.bytes));
      if (used > used_least || (used == used_least && consumer.turn >= readiest->turn)) continue;
      readiest = &consumer;
      used_least = used;
    }
    if (readiest == nullptr) return;
    // What waits is for all that are ready: a few records must not go to one of many workers.
    assign(*readiest, (pending_.count() + ready_count - 1) / ready_count);
  }
}

std::uint64_t RecordProducer::byte_room(const Consumer& consumer) const {
  std::uint64_t limit = std::min(consumer.credit.bytes, consumer.bytes_settled + options_.flight_bytes_max);
  return limit > consumer.bytes_assigned ? limit - consumer.bytes_assigned : 0;
}

bool RecordProducer::ready(const Consumer& consumer) const {
  if (consumer.state != State::attached || consumer.paused || consumer.draining) return false;
  if (consumer.assigned >= consumer.credit.deliveries || consumer.outbox_bytes >= options_.outbox_bytes_max)
    return false;
  // One record may be longer than all credit, if it is the only one.
  return byte_room(consumer) >= pending_.front_size() || consumer.in_flight() == 0;
}

void RecordProducer::assign(Consumer& consumer, std::uint64_t share) {
  std::uint64_t count =
      std::min({share, consumer.credit.deliveries - consumer.assigned, std::uint64_t{kBatchRecordsMax}});
  std::uint64_t room = byte_room(consumer);
  RecordBatch batch =
      pending_.take(static_cast<std::uint32_t>(count), std::min<std::uint64_t>(room, options_.batch_bytes_max));
  batch.set_attempt(static_cast<std::uint16_t>(std::min(batch.attempt() + 1, 0xffff)));
  consumer.turn = ++turns_;
  DeliveryNumber first = consumer.assigned + 1;
  consumer.assigned += batch.count();
  consumer.bytes_assigned += batch.size();
  consumer.outbox_bytes += batch.size();
  std::uint64_t bytes_left =
      consumer.credit.bytes > consumer.bytes_assigned ? consumer.credit.bytes - consumer.bytes_assigned : 0;
  Starved starved{.of_records = consumer.assigned == consumer.credit.deliveries, .of_bytes = bytes_left < batch.size()};
  consumer.flights.push_back({.first = first, .starved = starved, .batch = std::move(batch)});
}

void RecordProducer::say_ends() {
  bool settled = all_settled();
  for (auto& [number, consumer] : consumers_) {
    if (consumer.state != State::attached || consumer.in_flight() > 0) continue;
    if (!settled && !consumer.draining) continue;
    consumer.state = consumer.local ? State::over : State::ending;
    if (consumer.local) continue;
    consumer.told_end = true;
    consumer.control.push_back(encode(RecordEnd{.deliveries = consumer.assigned}));
  }
}

std::optional<RecordProducer::Transmit> RecordProducer::poll_transmit(ConsumerNumber number) {
  auto place = consumers_.find(number);
  if (place == consumers_.end()) return std::nullopt;
  Consumer& consumer = place->second;
  if (consumer.pieces.empty() && !consumer.control.empty()) {
    Transmit transmit{.head = std::move(consumer.control.front())};
    consumer.control.pop_front();
    return transmit;
  }
  if (consumer.pieces.empty()) {
    const Flight* flight = start_flight(consumer);
    if (flight == nullptr) return std::nullopt;
    std::ranges::move(encode_pieces({.first = flight->first, .starved = flight->starved, .batch = flight->batch}),
                      std::back_inserter(consumer.pieces));
    consumer.pieces_of = flight->batch;
  }
  DeliveryPiece piece = std::move(consumer.pieces.front());
  consumer.pieces.pop_front();
  return Transmit{
      .head = std::move(piece.head), .table = piece.table, .bytes = piece.bytes, .batch = consumer.pieces_of};
}

// The next that its connection was not given yet.
const RecordProducer::Flight* RecordProducer::start_flight(Consumer& consumer) {
  if (consumer.state != State::attached || cancelled_) return nullptr;
  auto flight = std::ranges::lower_bound(consumer.flights, consumer.transmitted + 1, {}, &Flight::first);
  if (flight == consumer.flights.end()) return nullptr;
  consumer.transmitted = flight->last();
  consumer.outbox_bytes -= flight->batch.size();
  // Its connection takes more now, so more may be handed to it; a deque keeps its elements where they are.
  if (consumer.outbox_bytes < options_.outbox_bytes_max) dispatch();
  return &*flight;
}

// --- local consumers ----------------------------------------------------------------------------------------------

void RecordProducer::attach_local(ConsumerNumber number, std::uint64_t records) {
  auto [place, is_new] = consumers_.try_emplace(number);
  REQUIRE(is_new);
  Consumer& consumer = place->second;
  consumer.number = number;
  consumer.local = true;
  consumer.state = State::attached;
  consumer.credit = {.deliveries = records, .bytes = ~std::uint64_t{0}};
  proceed();
}

void RecordProducer::grant(ConsumerNumber number, std::uint64_t records) {
  auto place = consumers_.find(number);
  REQUIRE(place != consumers_.end());
  Consumer& consumer = place->second;
  REQUIRE(consumer.local);
  consumer.credit.deliveries += records;
  proceed();
}

std::optional<RecordDelivery> RecordProducer::poll_delivery(ConsumerNumber number) {
  auto place = consumers_.find(number);
  REQUIRE(place != consumers_.end());
  const Flight* flight = start_flight(place->second);
  if (flight == nullptr) return std::nullopt;
  return RecordDelivery{.first = flight->first, .starved = flight->starved, .batch = flight->batch};
}

void RecordProducer::settle(ConsumerNumber number, DeliveryRange range) {
  auto place = consumers_.find(number);
  REQUIRE(place != consumers_.end());
  REQUIRE(range.last <= place->second.transmitted);
  acknowledge(place->second, range);
  forget_settled_flights(place->second);
  proceed();
}

// --- the owner ----------------------------------------------------------------------------------------------------

std::optional<RecordProducerEvent> RecordProducer::poll_event() {
  if (events_.empty()) return std::nullopt;
  RecordProducerEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

void RecordProducer::retry(RecordBatch record) {
  release(record);
  pending_.put(std::move(record));
  proceed();
}

void RecordProducer::bury(const RecordBatch& record) {
  release(record);
  ++buried_;
  proceed();
}

void RecordProducer::release(const RecordBatch& record) {
  REQUIRE(record.count() == 1);
  auto held = held_.find(record.first());
  REQUIRE(held != held_.end());
  held_bytes_ -= held->second;
  held_.erase(held);
}

RecordCounts RecordProducer::counts() const {
  RecordCounts counts{.accepted = accepted_,
                      .acknowledged = acknowledged_,
                      .buried = buried_,
                      .pending = pending_.count(),
                      .held = held_.size()};
  for (const auto& [number, consumer] : consumers_) counts.in_flight += consumer.in_flight();
  return counts;
}

RecordId RecordProducer::settled_below() const {
  RecordId lowest = last_accepted_ + 1;
  if (!pending_.empty()) lowest = std::min(lowest, pending_.first());
  if (!held_.empty()) lowest = std::min(lowest, held_.begin()->first);
  for (const auto& [number, consumer] : consumers_)
    for (const Flight& flight : consumer.flights)
      for (const DeliveryRange& part : consumer.settled.missing_in({.first = flight.first, .last = flight.last()}))
        lowest = std::min(lowest, flight.batch.first() + (part.first - flight.first));
  return lowest;
}

bool RecordProducer::all_settled() const { return source_ended_ && acknowledged_ + buried_ == accepted_; }

bool RecordProducer::finished() const {
  return cancelled_ || (all_settled() && std::ranges::all_of(consumers_, [](const auto& entry) {
                          return entry.second.state == State::over || entry.second.state == State::gone;
                        }));
}

void RecordProducer::check_invariants() const {
  RecordCounts now = counts();
  INVARIANT(now.accepted == now.acknowledged + now.buried + now.pending + now.held + now.in_flight);
}

}  // namespace sluice::link
