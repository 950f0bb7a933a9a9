#pragma once
// What a flow that runs has moved so far, stage by stage and link by link, and what its workers did with their time. All of it
// is counted since the start; flow_rates.h makes rates and shares of two of these.
//
// Of every link, in each sample: in = out + dropped + dead + in flight. What went in is in exactly one of these places, so the
// equation says that nothing was lost. The two ends of a link are asked one after the other, and while they are, records
// move: what the later one has seen to come out must have gone in.
// Threading: values.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.h"

namespace sluice::flow {

struct LinkCounts {
  std::uint64_t in = 0;
  std::uint64_t out = 0;
  std::uint64_t dropped = 0;
  std::uint64_t dead = 0;
  std::uint64_t in_flight = 0;

  bool balanced() const { return in == out + dropped + dead + in_flight; }
  LinkCounts& operator+=(const LinkCounts& more);
  bool operator==(const LinkCounts&) const = default;
};

/// What is known of the bytes of a link. At least one of its ends counts.
struct LinkEnds {
  std::optional<std::uint64_t> sent;      // by the end of the producer
  std::optional<std::uint64_t> received;  // by that of the consumer
  std::uint64_t waiting_before = 0;       // written, and not counted by the first end yet
  std::uint64_t waiting_behind = 0;       // counted by the last end, and not read yet
  std::uint64_t dropped = 0;              // between the ends
};
LinkCounts count_link(const LinkEnds& ends);

/// What workers did with their time.
struct Activity {
  Duration busy{};
  Duration idle{};       // nothing came
  Duration held_back{};  // what they had written was not taken

  Activity& operator+=(const Activity& more);
  bool operator==(const Activity&) const = default;
};

/// What a process does at one moment.
enum class Doing { busy, idle, held_back };

/// Makes time of moments: what was seen last counts for the time since the look before. An estimate, unbiased however far
/// apart the looks are.
class ActivityEstimate final {
 public:
  explicit ActivityEstimate(TimePoint start) : looked_at_(start) {}
  void on_look(Doing doing, TimePoint now);
  const Activity& activity() const { return activity_; }

 private:
  TimePoint looked_at_;
  Activity activity_;
};

struct WorkerCounters {
  std::uint32_t number = 0;  // from 1, of a stage that has many; 0: it has none here
  std::string node;          // empty: one of the stage's
  int pid = 0;               // 0: not known, or none
  bool running = true;
  std::optional<Activity> activity;
  std::optional<std::uint64_t> records_in, records_out, in_flight;
};

/// Of a stage that takes records.
struct StageRecords {
  std::uint64_t read = 0;
  std::uint64_t dead = 0;
  std::uint64_t in_flight = 0;
  std::uint64_t waiting = 0;  // of those in flight: no worker has them yet
  std::uint64_t written = 0;
  std::optional<std::uint64_t> credit;  // how many more its workers would take now
};

struct StageCounters {
  std::size_t index = 0;
  std::string command;
  std::string kind;                // filter, spread, map, each, worker
  std::vector<std::string> nodes;  // where its workers run
  std::uint32_t workers = 0;       // that run
  bool running = true;
  std::optional<Activity> activity;  // of all its workers together; nothing: nobody has looked yet
  bool estimated = false;            // the activity and the bytes, from looks at processes
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::optional<StageRecords> records;  // nothing: it takes bytes as they come
  std::vector<WorkerCounters> each_worker;
};

struct LinkCounters {
  std::optional<std::size_t> from, to;  // stages; nothing: the flow's stdin, its stdout
  bool of_errors = false;               // from the stage's stderr
  bool estimated = false;
  LinkCounts bytes;
  std::optional<LinkCounts> records;  // nothing: they are not told apart
};

struct FlowCounters {
  std::string id;
  std::string name;
  std::string text;
  std::string state;
  std::string node;
  bool background = false;
  std::uint64_t started_unix_ms = 0;
  Duration at{};  // by a clock of its node's
  std::vector<StageCounters> stages;
  std::vector<LinkCounters> links;
  std::vector<std::string> silent_hosts;  // whose counters are from before
};

}  // namespace sluice::flow
