#pragma once
// One record link in virtual time: a producer and its consumers as they are, between them connections that are slow,
// break and lose what was on its way, and programs that take their time, send records back, stand still and die.
//
// Everything is drawn from the seed, which faults there are included. It is checked after each step that no record is
// lost or acknowledged before a program was done with it, and that no memory is beyond its window.
// Threading: one thread.
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
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

struct RecordLinkOptions {
  std::uint64_t seed = 1;
  std::uint64_t records = 300;
  std::size_t consumers = 3;
  std::size_t record_size_max = 400;
  link::RecordProducerOptions producer;
  link::RecordConsumerOptions consumer;
  Duration service_time_max = std::chrono::milliseconds(3);
  bool sized = false;  // else lines
  // How often, in a mean second of virtual time:
  double cuts = 0;        // a connection breaks
  double crashes = 0;     // a consumer dies, with all it knew, and a new generation of it starts
  double losses = 0;      // a consumer dies, and the owner says so at once
  double stops = 0;       // a consumer stands still for a while
  double pauses = 0;      // a program pauses its link for a while
  double drains = 0;      // a consumer leaves in good order, and comes back as a new generation
  double rejections = 0;  // the share of records that are sent back
  double burials = 0;     // the share of those that are given up
};

/// Options with faults of every kind, or of some, as the seed draws them.
RecordLinkOptions record_swarm_options(std::uint64_t seed);

class RecordLinkWorld final {
 public:
  explicit RecordLinkWorld(const RecordLinkOptions& options);
  ~RecordLinkWorld();

  void run_for(Duration duration);
  /// No more faults; what stands still goes on.
  void heal();
  bool run_until_finished(Duration limit);

  const std::vector<std::string>& violations() const { return violations_.list(); }
  std::uint64_t trace() const { return trace_.value(); }
  link::RecordCounts counts() const { return producer_.counts(); }
  /// How often a program was done with a record, settled or lost again.
  std::uint64_t times_done(link::RecordId record) const;
  std::uint64_t records_made() const { return made_; }
  const std::set<link::RecordId>& buried() const { return buried_; }
  TimePoint now() const { return queue_.now(); }
  /// What a person wants to know of a run that does not end.
  std::string describe() const;

 private:
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
    unpause,
    retry,
    fault
  };
  struct Event {
    Kind kind = Kind::source;
    std::uint32_t consumer = 0;
    std::uint64_t connection = 0;  // or the life of the consumer
    std::uint64_t number = 0;
    std::string bytes;
    link::RecordBatch record;
  };
  using Way = RecordConnection::Way;
  struct Worker {
    std::unique_ptr<link::RecordConsumer> machine;
    std::uint32_t generation = 0;
    std::uint64_t life = 0;
    RecordConnection connection;
    bool stopped = false;
    std::deque<Event> waiting;  // while it stands still
    std::size_t busy = 0;       // records in the program's hands
    std::size_t concurrency = 1;
  };

  void process(Event event);
  void settle_world();  // carries out what the machines ask for
  void feed();
  void read_events();
  void transmit_of_producer(std::uint32_t index);
  void transmit_of_consumer(std::uint32_t index);
  void hand_out(std::uint32_t index);
  void done_with(std::uint32_t index, const Event& event);
  void start_life(std::uint32_t index);
  void end_life(std::uint32_t index);
  void connect(std::uint32_t index);
  void break_connection(std::uint32_t index);
  void send(std::uint32_t index, Way way, std::string bytes);
  void plan_faults();
  void carry_out_fault(std::uint64_t which, std::uint32_t index);
  bool source_over_settled() const;
  void check();

  RecordLinkOptions options_;
  FaultRates fault_rates_;  // in the order of Fault
  Draws draws_;
  EventQueue<Event> queue_;
  link::RecordProducer producer_;
  std::vector<Worker> workers_;
  std::map<link::RecordId, std::uint64_t> done_;  // how often
  std::set<link::RecordId> buried_;
  std::uint64_t made_ = 0;
  std::uint64_t connections_ = 0;
  bool faulty_ = true;
  bool source_over_ = false;
  std::optional<TimePoint> source_at_;
  std::optional<TimePoint> producer_deadline_;
  std::size_t batch_bytes_max_ = 0;
  link::RecordId checked_below_ = 1;
  struct InHand {
    std::uint32_t consumer = 0;
    std::uint64_t life = 0;
    link::DeliveryNumber delivery = 0;
    auto operator<=>(const InHand&) const = default;
  };
  std::map<InHand, link::RecordId> in_hand_;
  Violations violations_;
  TraceHash trace_;
};

}  // namespace sluice::sim
