#include "sim/record_link_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;
using link::RecordBatch;
using link::RecordId;

constexpr std::size_t kOnTheWayMax = 4096;  // of one direction of a connection, in bytes: what its socket takes

// The faults that a run draws from, in the order of their rates.
enum Fault : std::uint64_t { cut, crash, loss, stop, pause, drain };

}  // namespace

RecordLinkOptions record_swarm_options(std::uint64_t seed) {
  Draws draws(seed ^ 0x5eed);
  RecordLinkOptions options{.seed = seed};
  options.records = 1 + draws.below(400);
  options.consumers = 1 + draws.below(5);
  options.record_size_max = 1 + draws.below(1000);
  options.sized = draws.below(2) == 0;
  options.service_time_max = std::chrono::microseconds(1 + draws.below(5000));
  options.producer.pending_bytes_max = 1 + draws.below(20000);
  options.producer.batch_bytes_max = 1 + draws.below(5000);
  options.producer.outbox_bytes_max = 1 + draws.below(5000);
  options.producer.flight_bytes_max = 1 + draws.below(20000);
  options.producer.reattach_max = std::chrono::milliseconds(5 + draws.below(300));
  options.consumer.records = {.size_min = 1, .size_start = 1 + draws.below(8), .size_max = 8 + draws.below(200)};
  options.consumer.bytes = {.size_min = 1, .size_start = 1 + draws.below(900), .size_max = 1000 + draws.below(9000)};
  options.consumer.rejections_max = 1 + draws.below(5);
  options.cuts = draws.maybe(40);
  options.crashes = draws.maybe(20);
  options.losses = draws.maybe(10);
  options.stops = draws.maybe(20);
  options.pauses = draws.maybe(20);
  options.drains = draws.maybe(10);
  options.rejections = draws.maybe(0.3);
  options.burials = draws.maybe(0.5);
  return options;
}

RecordLinkWorld::RecordLinkWorld(const RecordLinkOptions& options)
    : options_(options),
      fault_rates_({options.cuts, options.crashes, options.losses, options.stops, options.pauses, options.drains}),
      draws_(options.seed),
      producer_(options.producer),
      workers_(options.consumers) {
  for (std::uint32_t index = 0; index < workers_.size(); ++index) {
    workers_[index].concurrency = 1 + draws_.below(4);
    start_life(index);
  }
  queue_.at(now(), {.kind = Kind::source});
  plan_faults();
}

RecordLinkWorld::~RecordLinkWorld() = default;

// --- time ---------------------------------------------------------------------------------------------------------

void RecordLinkWorld::run_for(Duration duration) {
  TimePoint until = now() + duration;
  Event event;
  while (queue_.take(until, event)) process(std::move(event));
}

bool RecordLinkWorld::run_until_finished(Duration limit) {
  TimePoint until = now() + limit;
  Event event;
  while (!(source_over_ && producer_.finished()) && queue_.take(until, event)) process(std::move(event));
  return source_over_ && producer_.finished();
}

void RecordLinkWorld::heal() {
  faulty_ = false;
  for (std::uint32_t index = 0; index < workers_.size(); ++index) {
    workers_[index].machine->resume();
    queue_.at(now(), {.kind = Kind::resume, .consumer = index, .connection = workers_[index].life});
  }
}

void RecordLinkWorld::process(Event event) {
  Worker& worker = workers_[event.consumer];
  trace_.add(static_cast<std::uint64_t>(event.kind) << 32 | event.consumer);
  trace_.add(static_cast<std::uint64_t>(now().time_since_epoch().count()));
  trace_.add(event.bytes);
  bool of_consumer = event.kind == Kind::to_consumer || event.kind == Kind::lost_at_consumer ||
                     event.kind == Kind::done_with || event.kind == Kind::connect;
  if (worker.stopped && of_consumer) {
    worker.waiting.push_back(std::move(event));
    return;
  }
  switch (event.kind) {
    case Kind::source:
      source_at_.reset();
      feed();
      break;
    case Kind::to_producer:
      if (!worker.connection.receive(Way::to_producer, event.connection, event.bytes.size())) break;
      if (!producer_.connected(event.consumer)) break;
      if (auto taken = producer_.on_bytes(event.consumer, std::as_bytes(std::span(event.bytes))); !taken)
        violations_.add(fmt::format("the producer refuses consumer {}: {}", event.consumer, taken.error()));
      break;
    case Kind::to_consumer:
      if (!worker.connection.receive(Way::to_consumer, event.connection, event.bytes.size())) break;
      if (auto taken = worker.machine->on_bytes(std::as_bytes(std::span(event.bytes)), now()); !taken)
        violations_.add(fmt::format("consumer {} refuses the producer: {}", event.consumer, taken.error()));
      break;
    case Kind::lost_at_producer:
      if (worker.connection.is_last_made(event.connection)) producer_.on_disconnected(event.consumer, now());
      break;
    case Kind::lost_at_consumer:
      if (event.number != worker.life) break;
      worker.machine->on_disconnected();
      queue_.at(now() + draws_.some(20ms),
                {.kind = Kind::connect, .consumer = event.consumer, .connection = worker.life});
      break;
    case Kind::connect:
      if (event.connection == worker.life) connect(event.consumer);
      break;
    case Kind::done_with:
      if (event.connection == worker.life) done_with(event.consumer, event);
      break;
    case Kind::deadline:
      producer_.on_deadline(now());
      break;
    case Kind::resume: {
      worker.stopped = false;
      auto waiting = std::exchange(worker.waiting, {});
      for (Event& late : waiting) queue_.at(now(), std::move(late));
      break;
    }
    case Kind::unpause:
      if (event.connection == worker.life) worker.machine->resume();
      break;
    case Kind::retry:
      producer_.retry(std::move(event.record));
      break;
    case Kind::fault:
      if (faulty_) carry_out_fault(event.number, event.consumer);
      plan_faults();
      break;
  }
  settle_world();
  check();
}

void RecordLinkWorld::settle_world() {
  read_events();
  feed();
  for (std::uint32_t index = 0; index < workers_.size(); ++index) {
    if (!workers_[index].stopped) hand_out(index);
    if (!workers_[index].stopped) transmit_of_consumer(index);
    transmit_of_producer(index);
  }
  if (auto deadline = producer_.poll_deadline(); deadline && deadline != producer_deadline_) {
    producer_deadline_ = deadline;
    queue_.at(*deadline, {.kind = Kind::deadline});
  }
}

// --- the source ---------------------------------------------------------------------------------------------------

void RecordLinkWorld::feed() {
  while (made_ < options_.records && producer_.wants_input() && !source_at_) {
    std::uint64_t count = std::min(options_.records - made_, 1 + draws_.below(20));
    std::vector<std::uint32_t> sizes;
    std::string bytes;
    for (std::uint64_t i = 0; i < count; ++i) {
      std::string record =
          std::to_string(made_ + 1 + i) + std::string(draws_.below(options_.record_size_max), 'x') + "\n";
      sizes.push_back(static_cast<std::uint32_t>(record.size()));
      bytes += record;
    }
    RecordBatch batch = options_.sized ? RecordBatch::of_sized(made_ + 1, sizes, bytes)
                                       : RecordBatch::of_delimited(made_ + 1, '\n', bytes).value();
    made_ += count;
    batch_bytes_max_ = std::max(batch_bytes_max_, batch.size());
    producer_.on_batch(std::move(batch));
    if (draws_.chance(0.3)) {
      source_at_ = now() + draws_.some(2ms);
      queue_.at(*source_at_, {.kind = Kind::source});
    }
  }
  if (made_ == options_.records && !std::exchange(source_over_, true)) producer_.on_source_end();
}

void RecordLinkWorld::read_events() {
  while (auto event = producer_.poll_event()) {
    auto* rejected = std::get_if<link::RecordRejected>(&*event);
    if (rejected == nullptr) continue;
    if (draws_.chance(options_.burials)) {
      buried_.insert(rejected->record.first());
      producer_.bury(rejected->record);
    } else {
      queue_.at(now() + draws_.some(5ms), {.kind = Kind::retry, .record = std::move(rejected->record)});
    }
  }
}

// --- programs -----------------------------------------------------------------------------------------------------

void RecordLinkWorld::hand_out(std::uint32_t index) {
  Worker& worker = workers_[index];
  while (worker.busy < worker.concurrency) {
    auto delivery = worker.machine->poll_delivery({.records = static_cast<std::uint32_t>(1 + draws_.below(3))}, now());
    if (!delivery) return;
    link::DeliveryNumber number = delivery->first;
    for_each_record(delivery->batch, [&](RecordId id, std::string_view text) {
      if (!text.starts_with(std::to_string(id))) violations_.add(fmt::format("record {} has the bytes of another", id));
      ++worker.busy;
      queue_.at(now() + draws_.some(options_.service_time_max),
                {.kind = Kind::done_with, .consumer = index, .connection = worker.life, .number = number});
      in_hand_[{index, worker.life, number++}] = id;
    });
  }
}

void RecordLinkWorld::done_with(std::uint32_t index, const Event& event) {
  Worker& worker = workers_[index];
  --worker.busy;
  auto in_hand = in_hand_.extract({index, worker.life, event.number});
  if (draws_.chance(options_.rejections)) {
    worker.machine->reject(event.number, link::NackCause::failed, "drawn");
    return;
  }
  ++done_[in_hand.mapped()];
  worker.machine->settle({.first = event.number, .last = event.number}, now());
}

// --- connections --------------------------------------------------------------------------------------------------

void RecordLinkWorld::start_life(std::uint32_t index) {
  Worker& worker = workers_[index];
  break_connection(index);
  worker.machine = std::make_unique<link::RecordConsumer>(options_.consumer);
  ++worker.generation;
  ++worker.life;
  worker.busy = 0;
  worker.stopped = false;
  worker.waiting.clear();
  queue_.at(now() + draws_.some(5ms), {.kind = Kind::connect, .consumer = index, .connection = worker.life});
}

void RecordLinkWorld::connect(std::uint32_t index) {
  Worker& worker = workers_[index];
  auto taken = producer_.on_connected(index, worker.generation);
  // Refused: the end that it has confirmed is known, or it was given up meanwhile and its owner starts it anew.
  if (!taken) return worker.machine->finished() ? void() : start_life(index);
  worker.connection.connect(++connections_);
  worker.machine->on_connected();
}

void RecordLinkWorld::break_connection(std::uint32_t index) {
  Worker& worker = workers_[index];
  if (!worker.connection.connected()) return;
  std::uint64_t id = worker.connection.cut();
  queue_.at(now() + draws_.some(RecordConnection::kTellMax),
            {.kind = Kind::lost_at_producer, .consumer = index, .connection = id});
  queue_.at(now() + draws_.some(RecordConnection::kTellMax),
            {.kind = Kind::lost_at_consumer, .consumer = index, .number = worker.life});
}

void RecordLinkWorld::send(std::uint32_t index, Way way, std::string bytes) {
  RecordConnection& connection = workers_[index].connection;
  TimePoint arrival = connection.send(way, bytes.size(), now(), draws_);
  queue_.at(arrival, {.kind = way == Way::to_producer ? Kind::to_producer : Kind::to_consumer,
                      .consumer = index,
                      .connection = connection.id(),
                      .bytes = std::move(bytes)});
}

void RecordLinkWorld::transmit_of_producer(std::uint32_t index) {
  const RecordConnection& connection = workers_[index].connection;
  if (!connection.connected()) return;
  while (connection.on_the_way(Way::to_consumer) < kOnTheWayMax) {
    auto transmit = producer_.poll_transmit(index);
    if (!transmit) return;
    send(index, Way::to_consumer, transmit->head.append(transmit->table).append(transmit->bytes));
  }
}

void RecordLinkWorld::transmit_of_consumer(std::uint32_t index) {
  Worker& worker = workers_[index];
  if (!worker.connection.connected()) return;
  while (auto bytes = worker.machine->poll_transmit(now())) send(index, Way::to_producer, *std::move(bytes));
  if (worker.machine->finished() && !source_over_settled()) start_life(index);  // it had drained, and comes back
}

// --- faults -------------------------------------------------------------------------------------------------------

void RecordLinkWorld::plan_faults() {
  if (!faulty_ || fault_rates_.none()) return;
  std::size_t which = fault_rates_.draw_kind(draws_);
  auto consumer = static_cast<std::uint32_t>(draws_.below(workers_.size()));
  queue_.at(now() + fault_rates_.draw_gap(draws_), {.kind = Kind::fault, .consumer = consumer, .number = which});
}

void RecordLinkWorld::carry_out_fault(std::uint64_t which, std::uint32_t index) {
  Worker& worker = workers_[index];
  switch (static_cast<Fault>(which)) {
    case cut:
      return break_connection(index);
    case crash:
      return start_life(index);
    case loss:
      producer_.on_lost(index, "it was killed");
      return start_life(index);
    case stop:
      worker.stopped = true;
      return queue_.at(now() + draws_.some(100ms),
                       {.kind = Kind::resume, .consumer = index, .connection = worker.life});
    case pause:
      worker.machine->pause();
      return queue_.at(now() + draws_.some(50ms),
                       {.kind = Kind::unpause, .consumer = index, .connection = worker.life});
    case drain:
      return worker.machine->drain();
  }
}

// --- checks -------------------------------------------------------------------------------------------------------

void RecordLinkWorld::check() {
  link::RecordCounts counts = producer_.counts();
  if (counts.accepted != made_) violations_.add("records were made that the producer does not count");
  // A record that is settled was done or buried.
  RecordId below = producer_.settled_below();
  for (; checked_below_ < below; ++checked_below_)
    if (!done_.contains(checked_below_) && !buried_.contains(checked_below_))
      violations_.add(fmt::format("record {} counts as settled, and nobody was done with it", checked_below_));
  if (counts.acknowledged > done_.size()) violations_.add("more is acknowledged than was done");
  std::size_t record_max = options_.record_size_max + 20;
  for (std::uint32_t index = 0; index < workers_.size(); ++index) {
    const link::RecordConsumer& machine = *workers_[index].machine;
    std::size_t window =
        std::max<std::size_t>(options_.consumer.bytes.size_max, record_max) + machine.rejections() * record_max;
    if (machine.unsettled_bytes() > window)
      violations_.add(fmt::format("consumer {} holds more than its window", index));
    if (machine.unsettled() > options_.consumer.records.size_max)
      violations_.add(fmt::format("consumer {} holds more records than its window", index));
  }
}

bool RecordLinkWorld::source_over_settled() const { return source_over_ && producer_.all_settled(); }

std::uint64_t RecordLinkWorld::times_done(RecordId record) const {
  auto found = done_.find(record);
  return found == done_.end() ? 0 : found->second;
}

std::string RecordLinkWorld::describe() const {
  link::RecordCounts counts = producer_.counts();
  std::string text = fmt::format("accepted {} acknowledged {} buried {} pending {} held {} in flight {}; made {} of {}",
                                 counts.accepted, counts.acknowledged, counts.buried, counts.pending, counts.held,
                                 counts.in_flight, made_, options_.records);
  for (const Worker& worker : workers_)
    text +=
        fmt::format("\n  generation {} connection {} stopped {} received {} settled {} waiting {} busy {} window {}/{}",
                    worker.generation, worker.connection.id(), worker.stopped, worker.machine->received(),
                    worker.machine->settled(), worker.machine->waiting(), worker.busy,
                    worker.machine->window().deliveries, worker.machine->window().bytes);
  return text;
}

}  // namespace sluice::sim
