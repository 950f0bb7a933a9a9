#include "link/record_world_for_test.h"

#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <mutex>

#include "link/records_for_test.h"

namespace sluice::link {

// --- sources ------------------------------------------------------------------------------------------------------

struct SourceScript::State {
  mutable std::mutex mutex;  // guards all of it
  RecordId last = 0;
  std::uint32_t in_batch = 1;
  RecordId pulled = 0, settled_below = 0;
  std::string failure;
  std::optional<LoopWaker> waker;
};

class SourceScript::Source final : public RecordSource {
 public:
  explicit Source(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::expected<void, std::string> open(const DataLoops::Seat&, LoopWaker waker) override {
    std::scoped_lock lock(state_->mutex);
    state_->waker = std::move(waker);
    return {};
  }
  std::expected<Pulled, std::string> pull() override {
    std::scoped_lock lock(state_->mutex);
    if (!state_->failure.empty()) return std::unexpected(state_->failure);
    if (state_->pulled == state_->last) return Pulled{.batch = {}, .status = Status::ended};
    RecordId first = state_->pulled + 1;
    state_->pulled = std::min(state_->last, state_->pulled + state_->in_batch);
    return Pulled{.batch = numbers(first, state_->pulled), .status = Status::more};
  }
  void on_settled(RecordId below) override {
    std::scoped_lock lock(state_->mutex);
    state_->settled_below = below;
  }

 private:
  std::shared_ptr<State> state_;  // with the test
};

SourceScript::SourceScript(RecordId last, std::uint32_t in_batch) : state_(std::make_shared<State>()) {
  state_->last = last;
  state_->in_batch = in_batch;
}

std::unique_ptr<RecordSource> SourceScript::make() { return std::make_unique<Source>(state_); }

RecordId SourceScript::pulled() const {
  std::scoped_lock lock(state_->mutex);
  return state_->pulled;
}

RecordId SourceScript::settled_below() const {
  std::scoped_lock lock(state_->mutex);
  return state_->settled_below;
}

void SourceScript::fail(std::string why) {
  std::scoped_lock lock(state_->mutex);
  state_->failure = std::move(why);
  if (state_->waker) state_->waker->wake();
}

// --- sinks --------------------------------------------------------------------------------------------------------

struct SinkScript::State {
  mutable std::mutex mutex;  // guards all of it
  Options options;
  std::vector<RecordId> got;
  std::vector<RecordSink::Settled> settled;
  std::vector<DeliveryNumber> unsettled;
  bool destroyed = false;
  std::optional<LoopWaker> waker;

  void settle_all() {
    if (!unsettled.empty()) settled.emplace_back(DeliveryRange{.first = unsettled.front(), .last = unsettled.back()});
    unsettled.clear();
  }
  void wake() {
    if (waker) waker->wake();
  }
};

class SinkScript::Sink final : public RecordSink {
 public:
  explicit Sink(std::shared_ptr<State> state) : state_(std::move(state)) {}
  ~Sink() override {
    std::scoped_lock lock(state_->mutex);
    state_->destroyed = true;
  }

  std::expected<void, Failure> open(const DataLoops::Seat&, LoopWaker waker) override {
    std::scoped_lock lock(state_->mutex);
    state_->waker = std::move(waker);
    return {};
  }
  std::optional<RecordConsumer::Limits> room() override {
    std::scoped_lock lock(state_->mutex);
    std::uint64_t left = state_->options.room - state_->got.size();
    if (left == 0) return std::nullopt;
    return RecordConsumer::Limits{.records = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, 1000))};
  }
  void take(RecordDelivery delivery) override {
    std::scoped_lock lock(state_->mutex);
    DeliveryNumber number = delivery.first;
    for_each_record(delivery.batch, [&](RecordId id, std::string_view record) {
      RecordId text = 0;
      std::from_chars(record.data(), record.data() + record.size(), text);
      EXPECT_EQ(id, text) << "the record is the one that its id says";
      state_->got.push_back(id);
      state_->unsettled.push_back(number++);
    });
    if (state_->options.settles) state_->settle_all();
  }
  std::optional<Settled> poll_settled() override {
    std::scoped_lock lock(state_->mutex);
    if (state_->settled.empty()) return std::nullopt;
    Settled next = std::move(state_->settled.back());
    state_->settled.pop_back();
    return next;
  }

 private:
  std::shared_ptr<State> state_;  // with the test
};

SinkScript::SinkScript(const Options& options) : state_(std::make_shared<State>()) { state_->options = options; }

std::unique_ptr<RecordSink> SinkScript::make() { return std::make_unique<Sink>(state_); }

std::vector<RecordId> SinkScript::got() const {
  std::scoped_lock lock(state_->mutex);
  return state_->got;
}

std::size_t SinkScript::count() const {
  std::scoped_lock lock(state_->mutex);
  return state_->got.size();
}

bool SinkScript::destroyed() const {
  std::scoped_lock lock(state_->mutex);
  return state_->destroyed;
}

void SinkScript::give_room(std::uint64_t records) {
  std::scoped_lock lock(state_->mutex);
  state_->options.room += records;
  state_->wake();
}

void SinkScript::settle() {
  std::scoped_lock lock(state_->mutex);
  state_->options.settles = true;
  state_->settle_all();
  state_->wake();
}

void SinkScript::reject_all(NackCause cause) {
  std::scoped_lock lock(state_->mutex);
  for (DeliveryNumber number : state_->unsettled)
    state_->settled.emplace_back(RecordNack{.delivery = number, .cause = cause, .reason = "no"});
  state_->unsettled.clear();
  state_->options.settles = true;
  state_->wake();
}

// --- the world ----------------------------------------------------------------------------------------------------

RecordWorld::~RecordWorld() { loops.close(); }

void RecordWorld::start_source(SourceScript& source, std::size_t consumers, const RecordSupplyOptions& options) {
  start_source(source.make(), consumers, options);
}

void RecordWorld::start_source(std::unique_ptr<RecordSource> source, std::size_t consumers,
                               const RecordSupplyOptions& options) {
  RecordSupplyOptions ours = options;
  ours.owner = owner_.options().owner;
  ours.consumers = consumers;
  RecordSupplyCallbacks callbacks;
  callbacks.on_event = [this](RecordSupplyEvent event) {
    events_.push_back(event);
    if (on_event) on_event(std::move(event));
  };
  callbacks.on_end = [this](RecordSupplyEnd end) {
    EXPECT_FALSE(supply_end) << "a supply ends once";
    supply_end = std::move(end);
  };
  supply.emplace(start_supply(loops, std::move(source), ours, std::move(callbacks)));
}

void RecordWorld::start_sink(ConsumerNumber number, SinkScript& sink, const RecordIntakeOptions& options) {
  start_sink(number, sink.make(), options);
}

void RecordWorld::start_sink(ConsumerNumber number, std::unique_ptr<RecordSink> sink,
                             const RecordIntakeOptions& options) {
  RecordIntakeOptions ours = options;
  ours.owner = owner_.options().owner;
  RecordIntakeCallbacks callbacks;
  callbacks.dial = [this, number](std::uint32_t attempt, TimePoint, auto answer) {
    dialled[number] = static_cast<int>(attempt);
    answer_dial(number, std::move(answer));
  };
  callbacks.on_end = [this, number](RecordIntakeEnd end) {
    EXPECT_FALSE(intake_ends.contains(number)) << "an intake ends once";
    intake_ends.emplace(number, std::move(end));
  };
  intakes.insert_or_assign(number, start_intake(loops, std::move(sink), ours, std::move(callbacks)));
}

void RecordWorld::answer_dial(ConsumerNumber number, std::move_only_function<void(RecordDialled)> answer) {
  if (dial_failure) return answer(std::unexpected(*dial_failure));
  Wired wired = connect(wire_);
  sockets_[number] = UniqueFd(::dup(wired.one.socket.get()));
  std::uint32_t generation = generations.contains(number) ? generations[number] : 1;
  supply->connect(number, generation, std::move(wired.other));
  answer(std::move(wired.one));
}

UniqueFd RecordWorld::connect_by_hand(ConsumerNumber number, std::uint32_t generation) {
  Wired wired = connect(Wire::tcp);
  supply->connect(number, generation, std::move(wired.other));
  return std::move(wired.one.socket);
}

void RecordWorld::cut(ConsumerNumber number) { ::shutdown(sockets_.at(number).get(), SHUT_RDWR); }

bool RecordWorld::run_to_end() {
  return run_until([&] { return supply_end && intake_ends.size() == intakes.size(); });
}

}  // namespace sluice::link
