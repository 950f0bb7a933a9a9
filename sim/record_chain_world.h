#pragma once
// Record links one behind the other, in virtual time: a tap, stages of workers that each have a link from every worker of
// the stage before and a link of their own to the stage behind, and sinks. A worker settles a record when all that it made
// of it was settled behind it, as the row `worker` of the table of promises says. Connections break, workers and the tap
// die at any moment and are begun anew, or stand still.
//
// Everything is drawn from the seed. It is checked after each step that nothing is acknowledged anywhere before the sinks
// were done with all that comes of it, that every record is somewhere, and that no memory is beyond its window.
// Threading: one thread.
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "link/record_consumer.h"
#include "link/record_producer.h"
#include "sim/draws.h"
#include "sim/event_queue.h"
#include "sim/fault_rates.h"
#include "sim/record_connection.h"
#include "sim/trace_hash.h"
#include "sim/violations.h"

namespace sluice::sim {

struct RecordChainOptions {
  std::uint64_t seed = 1;
  std::uint64_t records = 60;
  std::vector<std::size_t> workers = {2, 1};  // of each stage behind the tap; the last are the sinks
  std::size_t record_size_max = 100;
  link::RecordProducerOptions producer;
  link::RecordConsumerOptions consumer;
  std::size_t made_bytes_max = 1000;  // of what a worker has made and its link has not taken; one output may be longer
  Duration service_time_max = std::chrono::milliseconds(2);
  bool replayable = true;  // a tap that dies begins again behind what it knows to be settled; else the flow is over
  // How often, in a mean second of virtual time:
  double cuts = 0;         // a connection breaks
  double crashes = 0;      // a worker dies; the links in front of it find out
  double losses = 0;       // a worker dies, and the links in front of it are told at once
  double tap_crashes = 0;  // the tap dies
  double stops = 0;        // one stands still for a while
};

/// Options with faults of every kind, or of some, as the seed draws them.
RecordChainOptions chain_swarm_options(std::uint64_t seed);

class RecordChainWorld final {
 public:
  explicit RecordChainWorld(const RecordChainOptions& options);
  ~RecordChainWorld();

  /// The next event. False: nothing is to come.
  bool step();
  void run_for(Duration duration);
  /// No more faults; what stands still goes on.
  void heal();
  bool run_until_finished(Duration limit);
  /// Of layer 0, the tap dies; of the others a worker. One that is over stays so.
  void crash(std::size_t layer, std::size_t index);

  /// Every sink has heard the end of all its links.
  bool finished() const;
  /// Some consumer took its link for ended.
  bool some_end_was_heard() const;
  /// The tap has died, and is not replayable.
  bool broken() const { return broken_; }
  /// Records of the tap of which something never came to a sink.
  std::vector<link::RecordId> lost() const;
  /// The most that anything came to a sink.
  std::uint64_t times_done_max() const;
  /// All below were acknowledged to a tap that has died since, or to the one that there is.
  link::RecordId settled_below() const;
  std::size_t layers() const { return layers_.size(); }
  const std::vector<std::string>& violations() const { return violations_.list(); }
  std::uint64_t trace() const { return trace_.value(); }
  std::uint64_t steps() const { return steps_; }
  std::string describe() const;

 private:
  using Path = std::string;  // the record of the tap, and what was made of it at each stage: "17ba"
  enum class Kind : std::uint8_t {
    source,
    to_producer,
    to_consumer,
    lost_at_producer,
    lost_at_consumer,
    connect,
    done_with,
    deadline,
    resume,
    revive,
    fault
  };
  /// Of a link the end that consumes names it: its layer, its index, and its number of the link among its inputs.
  struct Event {
    Kind kind = Kind::source;
    std::size_t layer = 0, index = 0, input = 0;
    std::uint64_t connection = 0;
    std::uint64_t life = 0;   // of the one that it happens to
    std::uint64_t epoch = 0;  // of its input
    std::uint64_t number = 0;
    std::string bytes;
  };
  using Way = RecordConnection::Way;
  struct Input {
    std::unique_ptr<link::RecordConsumer> machine;
    std::uint64_t epoch = 0;  // counts the machines
    RecordConnection connection;
  };
  /// When all that was made up to `last_made` is settled, this delivery is.
  struct Debt {
    link::RecordId last_made = 0;
    std::size_t input = 0;
    std::uint64_t epoch = 0;
    link::DeliveryNumber delivery = 0;
    Path path;
  };
  struct Slot {
    std::unique_ptr<link::RecordProducer> producer;  // none: a sink
    std::vector<Input> inputs;
    std::uint64_t life = 0;
    bool runs = false, stopped = false;
    std::vector<Event> waiting;  // while it stands still
    std::size_t busy = 0, concurrency = 1, turn = 0;
    std::deque<Path> made;
    std::size_t made_bytes = 0;
    link::RecordId last_made = 0, last_given = 0;  // to the producer
    std::deque<Debt> debts;
    bool source_over = false;
    std::optional<TimePoint> deadline;
  };

  Slot& at(std::size_t layer, std::size_t index) { return layers_[layer][index]; }
  Slot& producer_of(const Event& link) { return at(link.layer - 1, link.input); }
  bool is_sink(std::size_t layer) const { return layer + 1 == layers_.size(); }
  bool happens_to_producer(Kind kind) const { return kind == Kind::to_producer || kind == Kind::lost_at_producer; }

  void process(Event event);
  void carry_out(Event& event);
  void settle_slot(std::size_t layer, std::size_t index);
  void feed(std::size_t layer, Slot& slot);
  void pay_debts(std::size_t layer, Slot& slot);
  void settle(std::size_t layer, Slot& slot, const Debt& debt);
  void hand_out(std::size_t layer, std::size_t index);
  void done_with(std::size_t layer, Slot& slot, const Event& event);
  void transmit_of_consumer(std::size_t layer, std::size_t index, std::size_t input);
  void transmit_of_producer(std::size_t layer, std::size_t index);

  void begin_life(std::size_t layer, std::size_t index);
  void begin_input(std::size_t layer, std::size_t index, std::size_t input);
  void connect(const Event& event);
  void break_connection(std::size_t layer, std::size_t index, std::size_t input);
  void send(Event link, Way way, std::string bytes);
  bool inputs_ended(const Slot& slot) const;
  bool over(std::size_t layer, const Slot& slot) const;

  void plan_faults();
  void carry_out_fault(const Event& event);

  std::vector<Path> made_of(std::size_t layer, const Path& path) const;
  void for_each_final(std::size_t layer, const Path& path, const std::function<void(const Path&)>& visit) const;
  bool all_done(std::size_t layer, const Path& path) const;
  void check(std::size_t layer, const Slot& slot);
  void check_promise();

  RecordChainOptions options_;
  FaultRates fault_rates_;  // in the order of Fault
  Draws draws_;
  EventQueue<Event> queue_;
  std::vector<std::vector<Slot>> layers_;
  std::map<Path, std::uint64_t> done_;  // how often, at the sinks
  std::vector<std::uint64_t> missing_;  // of each record of the tap, what has not come to a sink
  std::uint64_t complete_ = 0;          // records of the tap of which nothing is missing
  link::RecordId replay_from_ = 1;      // by this life of the tap
  link::RecordId checked_below_ = 1;
  std::uint64_t connections_ = 0, steps_ = 0;
  bool faulty_ = true, broken_ = false;
  Violations violations_;
  TraceHash trace_;
};

}  // namespace sluice::sim
