#include "sim/record_chain_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::sim {
namespace {

using namespace std::chrono_literals;
using link::RecordBatch;
using link::RecordId;

constexpr std::size_t kOnTheWayMax = 2048;  // of one direction of a connection, in bytes: what its socket takes

// The faults that a run draws from, in the order of their rates.
enum Fault : std::uint64_t { cut, crash, loss, tap_crash, stop };

RecordId root_of(const std::string& path) { return std::stoull(path); }

}  // namespace

RecordChainOptions chain_swarm_options(std::uint64_t seed) {
  Draws draws(seed ^ 0xc4a1);
  RecordChainOptions options{.seed = seed};
  options.records = 1 + draws.below(80);
  options.workers.clear();
  for (std::uint64_t stages = 1 + draws.below(3); stages > 0; --stages) options.workers.push_back(1 + draws.below(3));
  options.record_size_max = 1 + draws.below(300);
  options.service_time_max = std::chrono::microseconds(1 + draws.below(3000));
  options.made_bytes_max = 1 + draws.below(2000);
  options.producer.pending_bytes_max = 1 + draws.below(5000);
  options.producer.batch_bytes_max = 1 + draws.below(2000);
  options.producer.outbox_bytes_max = 1 + draws.below(2000);
  options.producer.flight_bytes_max = 1 + draws.below(5000);
  options.producer.reattach_max = std::chrono::milliseconds(5 + draws.below(200));
  options.consumer.records = {.size_min = 1, .size_start = 1 + draws.below(8), .size_max = 8 + draws.below(60)};
  options.consumer.bytes = {.size_min = 1, .size_start = 1 + draws.below(900), .size_max = 1000 + draws.below(4000)};
  options.cuts = draws.maybe(40);
  options.crashes = draws.maybe(30);
  options.losses = draws.maybe(20);
  options.tap_crashes = draws.maybe(10);
  options.stops = draws.maybe(20);
  return options;
}

RecordChainWorld::RecordChainWorld(const RecordChainOptions& options)
    : options_(options),
      fault_rates_({options.cuts, options.crashes, options.losses, options.tap_crashes, options.stops}),
      draws_(options.seed) {
  layers_.resize(options_.workers.size() + 1);
  layers_[0].resize(1);
  for (std::size_t layer = 1; layer < layers_.size(); ++layer) layers_[layer].resize(options_.workers[layer - 1]);
  missing_.resize(options_.records + 1);
  for (RecordId root = 1; root <= options_.records; ++root) {
    for_each_final(1, std::to_string(root), [&](const Path&) { ++missing_[root]; });
    if (missing_[root] == 0) ++complete_;
  }
  for (std::size_t layer = 0; layer < layers_.size(); ++layer)
    for (std::size_t index = 0; index < layers_[layer].size(); ++index) {
      at(layer, index).concurrency = 1 + draws_.below(4);
      begin_life(layer, index);
    }
  plan_faults();
}

RecordChainWorld::~RecordChainWorld() = default;

// --- time ---------------------------------------------------------------------------------------------------------

bool RecordChainWorld::step() {
  Event event;
  if (!queue_.take(TimePoint::max(), event)) return false;
  process(std::move(event));
  return true;
}

void RecordChainWorld::run_for(Duration duration) {
  TimePoint until = queue_.now() + duration;
  Event event;
  while (queue_.take(until, event)) process(std::move(event));
}

bool RecordChainWorld::run_until_finished(Duration limit) {
  TimePoint until = queue_.now() + limit;
  Event event;
  while (!finished() && queue_.take(until, event)) process(std::move(event));
  return finished();
}

void RecordChainWorld::heal() {
  faulty_ = false;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer)
    for (std::size_t index = 0; index < layers_[layer].size(); ++index)
      queue_.at(queue_.now(), {.kind = Kind::resume, .layer = layer, .index = index, .life = at(layer, index).life});
}

void RecordChainWorld::process(Event event) {
  ++steps_;
  trace_.add(static_cast<std::uint64_t>(event.kind) << 32 | event.layer << 16 | event.index << 8 | event.input);
  trace_.add(static_cast<std::uint64_t>(queue_.now().time_since_epoch().count()));
  trace_.add(event.bytes);
  Slot& own = at(event.layer, event.index);
  Slot& victim = happens_to_producer(event.kind) ? producer_of(event) : own;
  bool of_world = event.kind == Kind::resume || event.kind == Kind::revive || event.kind == Kind::fault;
  if (victim.stopped && !of_world) {
    victim.waiting.push_back(std::move(event));
    return;
  }
  bool of_link = event.kind == Kind::to_producer || event.kind == Kind::to_consumer || event.kind == Kind::connect;
  std::size_t layer = event.layer, index = event.index, input = event.input;
  carry_out(event);
  settle_slot(layer, index);
  if (of_link || happens_to_producer(event.kind)) settle_slot(layer - 1, input);
  check_promise();
}

void RecordChainWorld::carry_out(Event& event) {
  Slot& slot = at(event.layer, event.index);
  TimePoint now = queue_.now();
  switch (event.kind) {
    case Kind::source:  // the tap has more
      break;
    case Kind::to_producer: {
      Input& input = slot.inputs[event.input];
      if (!input.connection.receive(Way::to_producer, event.connection, event.bytes.size())) break;
      link::RecordProducer& producer = *producer_of(event).producer;
      auto consumer = static_cast<link::ConsumerNumber>(event.index);
      if (!producer.connected(consumer)) break;
      if (auto taken = producer.on_bytes(consumer, std::as_bytes(std::span(event.bytes))); !taken)
        violations_.add(fmt::format("{}.{} refuses {}.{}: {}", event.layer - 1, event.input, event.layer, event.index,
                                    taken.error()));
      break;
    }
    case Kind::to_consumer: {
      Input& input = slot.inputs[event.input];
      if (!input.connection.receive(Way::to_consumer, event.connection, event.bytes.size())) break;
      if (auto taken = input.machine->on_bytes(std::as_bytes(std::span(event.bytes)), now); !taken)
        violations_.add(fmt::format("{}.{} refuses {}.{}: {}", event.layer, event.index, event.layer - 1, event.input,
                                    taken.error()));
      break;
    }
    case Kind::lost_at_producer:
      if (producer_of(event).life == event.life && slot.inputs[event.input].connection.is_last_made(event.connection))
        producer_of(event).producer->on_disconnected(static_cast<link::ConsumerNumber>(event.index), now);
      break;
    case Kind::lost_at_consumer:
      if (slot.life != event.life || slot.inputs[event.input].epoch != event.epoch) break;
      slot.inputs[event.input].machine->on_disconnected();
      event.kind = Kind::connect;
      queue_.at(now + draws_.some(20ms), event);
      break;
    case Kind::connect:
      if (slot.runs && slot.life == event.life && slot.inputs[event.input].epoch == event.epoch) connect(event);
      break;
    case Kind::done_with:
      if (slot.life == event.life) done_with(event.layer, slot, event);
      break;
    case Kind::deadline:
      if (slot.life == event.life && slot.runs) slot.producer->on_deadline(now);
      break;
    case Kind::resume:
      if (slot.life != event.life) break;
      slot.stopped = false;
      for (Event& late : std::exchange(slot.waiting, {})) queue_.at(now, std::move(late));
      break;
    case Kind::revive:
      if (slot.life == event.life) begin_life(event.layer, event.index);
      break;
    case Kind::fault:
      if (faulty_) carry_out_fault(event);
      plan_faults();
      break;
  }
}

void RecordChainWorld::settle_slot(std::size_t layer, std::size_t index) {
  Slot& slot = at(layer, index);
  if (!slot.runs || slot.stopped) return;
  if (slot.producer) {
    while (slot.producer->poll_event()) {
    }
    feed(layer, slot);
    pay_debts(layer, slot);
  }
  hand_out(layer, index);
  if (slot.producer) feed(layer, slot);
  for (std::size_t input = 0; input < slot.inputs.size(); ++input) transmit_of_consumer(layer, index, input);
  if (slot.producer) {
    transmit_of_producer(layer, index);
    if (auto deadline = slot.producer->poll_deadline(); deadline && deadline != slot.deadline) {
      slot.deadline = deadline;
      queue_.at(*deadline, {.kind = Kind::deadline, .layer = layer, .index = index, .life = slot.life});
    }
  }
  check(layer, slot);
}

// --- programs -----------------------------------------------------------------------------------------------------

void RecordChainWorld::feed(std::size_t layer, Slot& slot) {
  link::RecordProducer& producer = *slot.producer;
  while (producer.wants_input()) {
    if (layer == 0 && slot.made.empty() && slot.last_made < options_.records) {
      slot.made.push_back(std::to_string(++slot.last_made));
      slot.made_bytes += slot.made.back().size();
    }
    if (slot.made.empty()) break;
    // The size of a record is its path's, so that one that is made again is the same.
    std::size_t padding = (root_of(slot.made.front()) * 7919) % (options_.record_size_max + 1);
    std::string record = slot.made.front() + std::string(padding, '.') + "\n";
    slot.made_bytes -= slot.made.front().size();
    slot.made.pop_front();
    producer.on_batch(RecordBatch::of_delimited(++slot.last_given, '\n', std::move(record)).value());
  }
  bool all_made = layer == 0 ? slot.last_made == options_.records : inputs_ended(slot) && slot.busy == 0;
  if (all_made && slot.made.empty() && !std::exchange(slot.source_over, true)) producer.on_source_end();
}

void RecordChainWorld::hand_out(std::size_t layer, std::size_t index) {
  Slot& slot = at(layer, index);
  bool took = true;
  while (took && slot.busy < slot.concurrency && slot.made_bytes < options_.made_bytes_max) {
    took = false;
    for (std::size_t i = 0; i < slot.inputs.size() && !took; ++i) {
      std::size_t input = (slot.turn + i) % slot.inputs.size();
      auto delivery = slot.inputs[input].machine->poll_delivery(
          {.records = static_cast<std::uint32_t>(1 + draws_.below(3))}, queue_.now());
      if (!delivery) continue;
      took = true;
      slot.turn = input + 1;
      link::DeliveryNumber number = delivery->first;
      for_each_record(delivery->batch, [&](RecordId, std::string_view text) {
        ++slot.busy;
        queue_.at(queue_.now() + draws_.some(options_.service_time_max),
                  {.kind = Kind::done_with,
                   .layer = layer,
                   .index = index,
                   .input = input,
                   .life = slot.life,
                   .epoch = slot.inputs[input].epoch,
                   .number = number++,
                   .bytes = Path(text.substr(0, text.find_first_of(".\n")))});
      });
    }
  }
}

void RecordChainWorld::done_with(std::size_t layer, Slot& slot, const Event& event) {
  --slot.busy;
  Debt debt{.input = event.input, .epoch = event.epoch, .delivery = event.number, .path = event.bytes};
  if (is_sink(layer)) {
    if (++done_[debt.path] == 1 && --missing_[root_of(debt.path)] == 0) ++complete_;
    return settle(layer, slot, debt);
  }
  for (Path& path : made_of(layer, debt.path)) {
    slot.made_bytes += path.size();
    slot.made.push_back(std::move(path));
    ++slot.last_made;
  }
  debt.last_made = slot.last_made;
  slot.debts.push_back(std::move(debt));
}

void RecordChainWorld::pay_debts(std::size_t layer, Slot& slot) {
  RecordId below = slot.producer->settled_below();
  for (; !slot.debts.empty() && slot.debts.front().last_made < below; slot.debts.pop_front())
    settle(layer, slot, slot.debts.front());
}

void RecordChainWorld::settle(std::size_t layer, Slot& slot, const Debt& debt) {
  if (!all_done(layer, debt.path))
    violations_.add(
        fmt::format("a worker of stage {} settles {} before the sinks were done with it", layer, debt.path));
  Input& input = slot.inputs[debt.input];
  if (input.epoch != debt.epoch) return;  // of a link that is gone: whoever comes in its place sends it again
  input.machine->settle({.first = debt.delivery, .last = debt.delivery}, queue_.now());
}

// What a worker of that stage makes of a record: always the same, mostly one, sometimes none or two.
std::vector<RecordChainWorld::Path> RecordChainWorld::made_of(std::size_t layer, const Path& path) const {
  TraceHash hash;
  hash.add(options_.seed);
  hash.add(layer);
  hash.add(path);
  std::uint64_t drawn = hash.value() % 8;
  if (drawn == 0) return {};
  if (drawn == 1) return {path + "a", path + "b"};
  return {path + "a"};
}

void RecordChainWorld::for_each_final(std::size_t layer, const Path& path,
                                      const std::function<void(const Path&)>& visit) const {
  if (is_sink(layer)) return visit(path);
  for (const Path& made : made_of(layer, path)) for_each_final(layer + 1, made, visit);
}

bool RecordChainWorld::all_done(std::size_t layer, const Path& path) const {
  bool all = true;
  for_each_final(layer, path, [&](const Path& final) { all = all && done_.contains(final); });
  return all;
}

// --- connections --------------------------------------------------------------------------------------------------

void RecordChainWorld::begin_life(std::size_t layer, std::size_t index) {
  Slot& slot = at(layer, index);
  std::uint64_t life = slot.life + 1, concurrency = slot.concurrency;
  std::vector<Input> inputs = std::move(slot.inputs);
  slot = Slot();
  slot.life = life;
  slot.concurrency = concurrency;
  slot.runs = true;
  slot.inputs = std::move(inputs);
  if (!is_sink(layer)) slot.producer = std::make_unique<link::RecordProducer>(options_.producer);
  if (layer == 0) {
    slot.last_made = slot.last_given = replay_from_ - 1;
    queue_.at(queue_.now(), {.kind = Kind::source});
  } else {
    slot.inputs.resize(layers_[layer - 1].size());
    for (std::size_t input = 0; input < slot.inputs.size(); ++input) begin_input(layer, index, input);
  }
  // Those behind it begin a link with the new one; of a link whose end they have heard nothing more can come.
  if (is_sink(layer) || life == 1) return;
  for (std::size_t behind = 0; behind < layers_[layer + 1].size(); ++behind) {
    Slot& other = at(layer + 1, behind);
    if (other.runs && !other.inputs[index].machine->ended()) begin_input(layer + 1, behind, index);
  }
}

void RecordChainWorld::begin_input(std::size_t layer, std::size_t index, std::size_t number) {
  Slot& slot = at(layer, index);
  Input& input = slot.inputs[number];
  break_connection(layer, index, number);
  input.machine = std::make_unique<link::RecordConsumer>(options_.consumer);
  ++input.epoch;
  queue_.at(queue_.now() + draws_.some(5ms), {.kind = Kind::connect,
                                              .layer = layer,
                                              .index = index,
                                              .input = number,
                                              .life = slot.life,
                                              .epoch = input.epoch});
}

void RecordChainWorld::connect(const Event& event) {
  Slot& slot = at(event.layer, event.index);
  Slot& upper = producer_of(event);
  Input& input = slot.inputs[event.input];
  if (input.machine->finished()) return;
  if (!upper.runs) {  // nobody answers
    queue_.at(queue_.now() + draws_.some(20ms), event);
    return;
  }
  auto taken = upper.producer->on_connected(static_cast<link::ConsumerNumber>(event.index),
                                            static_cast<std::uint32_t>(slot.life));
  if (!taken) return crash(event.layer, event.index);  // it was given up meanwhile, and is begun anew
  input.connection.connect(++connections_);
  input.machine->on_connected();
}

void RecordChainWorld::break_connection(std::size_t layer, std::size_t index, std::size_t number) {
  Slot& slot = at(layer, index);
  Input& input = slot.inputs[number];
  if (!input.connection.connected()) return;
  std::uint64_t id = input.connection.cut();
  Event lost{.kind = Kind::lost_at_producer, .layer = layer, .index = index, .input = number, .connection = id};
  lost.life = at(layer - 1, number).life;
  queue_.at(queue_.now() + draws_.some(RecordConnection::kTellMax), lost);
  lost.kind = Kind::lost_at_consumer;
  lost.life = slot.life;
  lost.epoch = input.epoch;
  queue_.at(queue_.now() + draws_.some(RecordConnection::kTellMax), lost);
}

void RecordChainWorld::send(Event link, Way way, std::string bytes) {
  RecordConnection& connection = at(link.layer, link.index).inputs[link.input].connection;
  TimePoint arrival = connection.send(way, bytes.size(), queue_.now(), draws_);
  link.kind = way == Way::to_producer ? Kind::to_producer : Kind::to_consumer;
  link.connection = connection.id();
  link.bytes = std::move(bytes);
  queue_.at(arrival, std::move(link));
}

void RecordChainWorld::transmit_of_consumer(std::size_t layer, std::size_t index, std::size_t number) {
  Input& input = at(layer, index).inputs[number];
  if (!input.connection.connected()) return;
  while (auto bytes = input.machine->poll_transmit(queue_.now()))
    send({.layer = layer, .index = index, .input = number}, Way::to_producer, *std::move(bytes));
}

void RecordChainWorld::transmit_of_producer(std::size_t layer, std::size_t index) {
  for (std::size_t behind = 0; behind < layers_[layer + 1].size(); ++behind) {
    Slot& slot = at(layer + 1, behind);
    if (slot.inputs.empty() || !slot.inputs[index].connection.connected()) continue;
    while (slot.inputs[index].connection.on_the_way(Way::to_consumer) < kOnTheWayMax) {
      auto transmit = at(layer, index).producer->poll_transmit(static_cast<link::ConsumerNumber>(behind));
      if (!transmit) break;
      send({.layer = layer + 1, .index = behind, .input = index}, Way::to_consumer,
           transmit->head.append(transmit->table).append(transmit->bytes));
    }
  }
}

bool RecordChainWorld::inputs_ended(const Slot& slot) const {
  return std::ranges::all_of(slot.inputs, [](const Input& input) { return input.machine->ended(); });
}

bool RecordChainWorld::over(std::size_t layer, const Slot& slot) const {
  return slot.runs && (layer == 0 || inputs_ended(slot)) && (is_sink(layer) || slot.producer->finished());
}

bool RecordChainWorld::finished() const {
  return std::ranges::all_of(layers_.back(), [this](const Slot& slot) { return slot.runs && inputs_ended(slot); });
}

bool RecordChainWorld::some_end_was_heard() const {
  for (std::size_t layer = 1; layer < layers_.size(); ++layer)
    for (const Slot& slot : layers_[layer])
      for (const Input& input : slot.inputs)
        if (input.machine->ended()) return true;
  return false;
}

// --- faults -------------------------------------------------------------------------------------------------------

void RecordChainWorld::crash(std::size_t layer, std::size_t index) {
  Slot& slot = at(layer, index);
  if (!slot.runs || over(layer, slot)) return;
  for (std::size_t input = 0; input < slot.inputs.size(); ++input) break_connection(layer, index, input);
  if (!is_sink(layer))
    for (std::size_t behind = 0; behind < layers_[layer + 1].size(); ++behind)
      break_connection(layer + 1, behind, index);
  if (layer == 0) {
    replay_from_ = settled_below();
    broken_ = broken_ || !options_.replayable;
  }
  slot.runs = slot.stopped = false;
  slot.waiting.clear();
  if (!broken_)
    queue_.at(queue_.now() + draws_.some(20ms),
              {.kind = Kind::revive, .layer = layer, .index = index, .life = slot.life});
}

void RecordChainWorld::plan_faults() {
  if (!faulty_ || fault_rates_.none()) return;
  std::size_t which = fault_rates_.draw_kind(draws_);
  std::size_t layer = 1 + draws_.below(layers_.size() - 1), index = draws_.below(layers_[layer].size());
  std::size_t input = draws_.below(layers_[layer - 1].size());
  queue_.at(queue_.now() + fault_rates_.draw_gap(draws_),
            {.kind = Kind::fault, .layer = layer, .index = index, .input = input, .number = which});
}

void RecordChainWorld::carry_out_fault(const Event& event) {
  Slot& slot = at(event.layer, event.index);
  switch (static_cast<Fault>(event.number)) {
    case cut:
      if (slot.runs) break_connection(event.layer, event.index, event.input);
      return;
    case Fault::crash:
      return crash(event.layer, event.index);
    case loss:
      if (!slot.runs || over(event.layer, slot)) return;
      for (Slot& upper : layers_[event.layer - 1])
        if (upper.runs) upper.producer->on_lost(static_cast<link::ConsumerNumber>(event.index), "it was killed");
      return crash(event.layer, event.index);
    case tap_crash:
      return crash(0, 0);
    case stop:
      if (!slot.runs) return;
      slot.stopped = true;
      queue_.at(queue_.now() + draws_.some(100ms),
                {.kind = Kind::resume, .layer = event.layer, .index = event.index, .life = slot.life});
      return;
  }
}

// --- checks -------------------------------------------------------------------------------------------------------

void RecordChainWorld::check(std::size_t layer, const Slot& slot) {
  if (slot.producer) {
    link::RecordCounts counts = slot.producer->counts();
    RecordId begun = layer == 0 ? slot.last_given - (replay_from_ - 1) : slot.last_given;
    if (counts.accepted != begun) violations_.add("a producer does not count what it was given");
    if (counts.accepted != counts.acknowledged + counts.buried + counts.pending + counts.held + counts.in_flight)
      violations_.add(fmt::format("at stage {} a record is nowhere, or at two places", layer));
    std::size_t flight_max = std::max(options_.producer.flight_bytes_max, options_.record_size_max + 30);
    std::size_t waiting_max = options_.producer.pending_bytes_max + options_.record_size_max + 30;
    if (!is_sink(layer)) waiting_max += layers_[layer + 1].size() * flight_max;  // that lost consumers give back
    if (slot.producer->waiting_bytes() > waiting_max)
      violations_.add(fmt::format("more waits at stage {} than may", layer));
    if (slot.made_bytes > options_.made_bytes_max + 60 * slot.concurrency)
      violations_.add(fmt::format("a worker of stage {} hoards what it has made", layer));
  }
  std::size_t record_max = options_.record_size_max + 30;
  for (const Input& input : slot.inputs) {
    if (input.machine->unsettled_bytes() > std::max<std::size_t>(options_.consumer.bytes.size_max, record_max))
      violations_.add(fmt::format("a consumer of stage {} holds more bytes than its window", layer));
    if (input.machine->unsettled() > options_.consumer.records.size_max)
      violations_.add(fmt::format("a consumer of stage {} holds more records than its window", layer));
  }
}

// What the tap was told is true.
void RecordChainWorld::check_promise() {
  RecordId below = settled_below();
  for (; checked_below_ < below; ++checked_below_)
    if (missing_[checked_below_] > 0)
      violations_.add(fmt::format("record {} counts as settled, and a sink never had it", checked_below_));
  const Slot& tap = layers_[0][0];
  if (tap.runs && tap.producer->counts().acknowledged > complete_)
    violations_.add("more is acknowledged than was done");
  if (finished() && settled_below() != options_.records + 1 && tap.runs)
    violations_.add("the sinks heard the end before the tap was told that all is settled");
}

RecordId RecordChainWorld::settled_below() const {
  const Slot& tap = layers_[0][0];
  return tap.runs ? std::max(replay_from_, tap.producer->settled_below()) : replay_from_;
}

std::vector<RecordId> RecordChainWorld::lost() const {
  std::vector<RecordId> lost;
  for (RecordId root = 1; root <= options_.records; ++root)
    if (missing_[root] > 0) lost.push_back(root);
  return lost;
}

std::uint64_t RecordChainWorld::times_done_max() const {
  std::uint64_t most = 0;
  for (const auto& [path, times] : done_) most = std::max(most, times);
  return most;
}

std::string RecordChainWorld::describe() const {
  std::string text;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer)
    for (const Slot& slot : layers_[layer]) {
      text += fmt::format("\n  stage {} life {} runs {} stopped {} busy {} made {} debts {}", layer, slot.life,
                          slot.runs, slot.stopped, slot.busy, slot.made.size(), slot.debts.size());
      if (slot.producer) {
        link::RecordCounts counts = slot.producer->counts();
        text += fmt::format("; accepted {} acknowledged {} pending {} in flight {} over {}", counts.accepted,
                            counts.acknowledged, counts.pending, counts.in_flight, slot.source_over);
      }
      for (const Input& input : slot.inputs)
        text += fmt::format("; from it {} received, {} settled, ended {}, connection {}", input.machine->received(),
                            input.machine->settled(), input.machine->ended(), input.connection.id());
    }
  return text;
}

}  // namespace sluice::sim
