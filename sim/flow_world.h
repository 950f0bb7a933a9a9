#pragma once
// A flow in virtual time: a graph of taps, stages of `worker`, `@map` and `@each` with their processes, mergers that wait
// for every copy of a record, and sinks; a junction where their links meet; and between all of them pipes that hold little.
//
// The machines are those of flow/ and link/. Here are programs that take their time, fail records, keep their answers, break
// the protocol, leave and die; and readers that are slow or go away. Everything is drawn from the seed. After each step
// it is checked that no record is in two hands, comes from nowhere, or is written twice, and that no memory is beyond its
// window. A flow that stands still for 10 s is told by the stages that wait for each other.
// Threading: one thread.
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "flow/each_work.h"
#include "flow/map_work.h"
#include "flow/unsettled_outputs.h"
#include "flow/worker_work.h"
#include "link/record_junction.h"
#include "sim/event_queue.h"
#include "sim/trace_hash.h"

namespace sluice::sim {

enum class Role : std::uint8_t { tap, worker, map, each, merger, sink };

struct SimStage {
  std::string name;
  Role role = Role::worker;
  bool shares = false;
  std::uint32_t workers = 1;
  std::uint32_t concurrency = 1;   // of a worker; what a merger can hold
  std::uint32_t batch = 1;         // of `each`
  bool ordered = false;            // `each`
  bool keeps_answers = false;      // `map`: it answers in bursts
  std::uint64_t leaves_after = 0;  // a sink, so many records; 0: it stays
  Duration service_time_max = std::chrono::milliseconds(1);
  // The share of records at which a process dies by a signal, exits with a status, or, of a worker, says that the record
  // has failed, breaks the protocol, or asks to leave.
  double deaths = 0, statuses = 0, failures = 0, garbage = 0, leaves = 0;
  std::uint64_t poison = 0;  // each record whose number this divides ends its process; 0: none
};

struct SimLink {
  std::size_t from = 0, to = 0;
  link::SlowRule slow = link::SlowRule::block;
  std::uint64_t spill_bytes = 0;
};

struct FlowWorldOptions {
  std::uint64_t seed = 1;
  std::uint64_t records = 100;
  std::vector<SimStage> stages;  // a link leads to a later one
  std::vector<SimLink> links;
  link::JunctionOptions junction;
  std::size_t pipe_bytes = 64;  // one longer record aside
};

/// A graph with stages and faults of every kind, or of some, as the seed draws them; without mergers.
FlowWorldOptions flow_swarm_options(std::uint64_t seed);

class FlowWorld final {
 public:
  explicit FlowWorld(FlowWorldOptions options);
  ~FlowWorld();

  /// Until every stage is over, or nothing moves any more.
  void run();
  /// No process dies, fails or leaves from now on but by poison.
  void heal() { faulty_ = false; }
  void run_for(Duration duration);

  bool finished() const;
  /// Nothing has moved for 10 s: which stages wait for each other, and what is full. Empty: it moves.
  const std::string& standstill() const { return standstill_; }
  const std::vector<std::string>& violations() const { return violations_; }
  /// Of a flow that is finished: every record that a stage wrote was taken once by whom its links lead to, or was dropped
  /// or lost with a reader that left; what a stage took was written or buried once. What is not so, in sentences.
  std::vector<std::string> unaccounted() const;
  /// The numbers of the records that some stage has buried.
  const std::set<std::uint64_t>& buried() const { return buried_; }
  link::JunctionCounts counts(std::size_t link) const { return junction_->counts(link); }
  std::uint64_t processes_ended() const { return processes_ended_; }
  std::uint64_t trace() const { return trace_.value(); }
  std::string describe() const;

 private:
  enum class Kind : std::uint8_t { go_on, hello, done_with, look };
  struct Event {
    Kind kind = Kind::go_on;
    std::size_t stage = 0;
    std::size_t worker = 0;
    std::uint64_t life = 0;  // of its process
    std::uint64_t number = 0;
    std::string text;
  };
  struct Pipe {
    std::deque<std::string> records;
    std::size_t bytes = 0;
    bool ended = false, no_reader = false;
  };
  /// What a process has written and its stage has not read.
  struct Said {
    enum class What : std::uint8_t { hello, output, done, fail, leave, finished, answer, garbage };
    What what = What::hello;
    link::RecordId id = 0;
    std::string text;
  };
  struct Process {
    bool runs = false;
    std::uint64_t life = 0;
    std::deque<std::pair<link::RecordId, std::string>> inbox;
    std::size_t busy = 0;
    bool told_end = false, left = false, said_finished = false, moved = false;
    std::vector<Said> kept;  // answers
    std::deque<Said> said;
    std::optional<flow::AttemptEnd> end;  // it has ended, and not all that it said was read
    std::set<link::RecordId> hand;        // by our own count
    flow::UnsettledOutputs outputs;
    std::uint32_t stalls = 0;
  };
  struct Stage {
    std::unique_ptr<flow::WorkerWork> worker;
    std::unique_ptr<flow::MapWork> map;
    std::unique_ptr<flow::EachWork> each;
    std::vector<Process> processes;
    Pipe in, out;                                              // between it and the junction
    std::uint32_t handed_over = 0;                             // records of the junction's delivery that are in `in`
    link::RecordId next_id = 1;                                // of its input
    std::map<link::RecordId, std::vector<std::string>> texts;  // taken and not settled; of `each` by batch
    std::deque<std::string> queue;                             // its output that the pipe does not take
    std::size_t queue_bytes = 0;
    std::map<std::string, std::string> held;  // of a merger, by record: the marks of the stages that it came from
    std::map<std::string, std::uint64_t> taken, written;  // how often
    std::set<std::string> buried;
    flow::BatchNumber last_written = 0;
    bool told_source_end = false, told_junction_end = false, over = false, left = false, busy = false;
    link::RecordId junction_id = 1;  // of what it gives to the junction
    std::optional<TimePoint> deadline;
  };
  class Store;

  Stage& stage_of(const Event& event) { return stages_[event.stage]; }
  const SimStage& plan_of(const Event& event) const { return options_.stages[event.stage]; }
  char mark(std::size_t stage) const { return static_cast<char>('a' + stage); }

  void process(const Event& event);
  void settle_world();
  bool pump_input(std::size_t index);
  bool pump_output(std::size_t index);
  bool work(std::size_t index);
  bool work_tap(std::size_t index);
  bool work_merger(std::size_t index);
  bool work_sink(std::size_t index);
  bool work_workers(std::size_t index);
  bool work_map(std::size_t index);
  bool work_each(std::size_t index);
  bool end_if(std::size_t index, bool finished);
  void leave_stage(std::size_t index);

  bool hear_all(std::size_t index, std::size_t worker);
  void hear(std::size_t index, std::size_t worker, const Said& said);
  void take_batch(std::size_t index, link::RecordBatch& batch);
  void give(std::size_t index, std::size_t worker, const link::RecordBatch& batch);
  void end_process(std::size_t index, std::size_t worker);
  void start_process(std::size_t index, std::size_t worker);
  void die(Process& process, flow::AttemptEnd::Kind kind);
  void live(std::size_t index, std::size_t worker);
  void do_worker(const Event& event, Process& process);
  void do_map(const Event& event, Process& process);
  void do_each(const Event& event, Process& process);
  void done_with(const Event& event);
  void look(const Event& event);

  std::optional<std::string> take(Pipe& pipe);
  bool has_room(const Pipe& pipe, std::size_t size) const {
    return pipe.bytes == 0 || pipe.bytes + size <= options_.pipe_bytes;
  }
  void emit(std::size_t index, std::string text);
  bool writable(const Stage& stage) const { return stage.queue_bytes < options_.pipe_bytes; }
  bool flush(std::size_t index);
  void bury(std::size_t index, const std::string& text);
  void go_on_at(std::size_t index, std::optional<TimePoint> when);
  bool is_poison(std::size_t index, const std::string& text) const;

  struct Wait {
    std::size_t stage = 0;
    std::string why;
  };
  std::vector<Wait> waits_of(std::size_t index) const;
  std::string find_cycle() const;
  std::vector<std::size_t> feeders(std::size_t index) const;

  void check();
  void violate(std::string what);
  bool chance(double share) { return faulty_ && random_.fraction() < share; }
  Duration some(Duration max) {
    return Duration(static_cast<Duration::rep>(random_.below(static_cast<std::uint64_t>(max.count()) + 1)));
  }

  FlowWorldOptions options_;
  SeededRandom random_;
  EventQueue<Event> queue_;
  std::vector<Stage> stages_;
  std::vector<std::optional<std::size_t>> input_of_, output_of_;  // of the junction, by stage
  std::unique_ptr<link::RecordJunction> junction_;
  std::vector<link::RecordId> delivered_;  // by link, up to which
  std::set<std::uint64_t> buried_;
  std::set<std::string> lost_with_readers_;  // what lay in the pipe of one that left
  TimePoint moved_at_{};
  std::uint64_t processes_ended_ = 0;
  bool faulty_ = true;
  std::string standstill_;
  std::vector<std::string> violations_;
  TraceHash trace_;
};

}  // namespace sluice::sim
