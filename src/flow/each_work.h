#pragma once
// What becomes of the records of an `@each` stage: which batch is run next and on which worker, again after a failure,
// and when its output may go on.
//
// A batch is what one process gets: one record, or `@each=N` of them. It is held until its output was written (or it was
// skipped, or buried with the dead letters), and only then settled: whoever sent it may forget it then.
//
//   waiting -> running -> done (its turn to be written has come, or not yet) -> settled
//      ^          |
//      '- resting <- failed with tries left        failed for good -> dead: to be buried -> settled
//                                                                  -> or the stage is broken
//
// With a lane, only the worker of that number runs the batch, and batches of one lane are run in the order of their
// numbers: one that rests holds back those behind it. `ordered`: batches are written in the order of their numbers.
// Workers may join a stage that says so, and leave it; without anybody it waits.
// Invariants: batches held are at most `held_max`; those that were started and have not ended are at most one for each
// worker, or two with `run_ahead`, of which the second waits for the first.
// Order for the shell: after every input ask all poll_* until they are empty.
// Threading: pure; no clock, no I/O.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time.h"
#include "exec/process_status.h"

namespace sluice::flow {

/// A batch's place in its stage's input, from 1: the Seq of the job log.
using BatchNumber = std::uint64_t;

struct EachWorkOptions {
  std::uint32_t workers = 1;
  bool joins = false;  // others may join these; without lanes, and none runs ahead. Only then `workers` may be 0
  bool ordered = false;
  std::uint32_t retries = 0;  // after an attempt that failed
  std::uint32_t losses = 3;   // how often a process that a signal ended is run again, whatever `retries` says
  bool buries = false;        // what failed for good is buried; else it breaks the stage
  /// Held at most, of all kinds. With `ordered` it is how far the output may run ahead of the slowest batch.
  std::size_t held_max = 1024;
  Duration backoff_first = std::chrono::milliseconds(100);  // doubled for each further attempt
  Duration backoff_max = std::chrono::seconds(10);
};

/// How one attempt went.
struct AttemptEnd {
  enum class Kind { succeeded, failed, lost, refused };
  Kind kind = Kind::succeeded;
  exec::ProcessStatus status;  // of a process that ended
  std::string why;             // `refused`: it could not be started, and trying again is of no use

  /// Of a process that ended.
  static AttemptEnd of(exec::ProcessStatus status) {
    Kind kind = status.success() ? Kind::succeeded : status.by_signal() ? Kind::lost : Kind::failed;
    return {.kind = kind, .status = status, .why = {}};
  }
};

class EachWork final {
 public:
  using Worker = std::uint32_t;  // from 0

  explicit EachWork(const EachWorkOptions& options);

  /// Room for one more batch.
  bool wants_batch() const;
  /// As many are held as may be.
  bool full() const { return held_.size() >= options_.held_max; }
  std::uint32_t free_workers() const {
    auto busy = static_cast<std::uint32_t>(running_.size());
    return options_.workers > busy ? options_.workers - busy : 0;
  }
  /// A worker is free, and a batch may wait for it.
  bool can_start() const { return !startable_.empty() && somebody_free(); }
  /// A worker is free, and no batch is there that it could begin with.
  bool hungry() const { return startable_.empty() && somebody_free() && !holding_back_; }
  /// Requires: wants_batch(), and a number above all before. `lane`: below the number of workers.
  void on_batch(BatchNumber batch, std::optional<Worker> lane);
  void on_source_end() { source_ended_ = true; }

  /// It is to run batches. Requires: no worker that runs has that number.
  void on_joined(Worker worker);
  /// It begins no other.
  void on_leaving(Worker worker);
  /// It has left, and runs nothing.
  bool retired(Worker worker) const;

  void on_ended(BatchNumber batch, AttemptEnd end, TimePoint now);
  /// Its output has gone on, whole.
  void on_written(BatchNumber batch);
  /// It is with the dead letters.
  void on_buried(BatchNumber batch);

  struct Start {
    BatchNumber batch = 0;
    Worker worker = 0;
    std::uint32_t attempt = 0;  // from 1
  };
  std::optional<Start> poll_start(TimePoint now);
  /// A batch whose output is to be written now.
  std::optional<BatchNumber> poll_write();
  struct Dead {
    BatchNumber batch = 0;
    std::uint32_t attempts = 0;
    AttemptEnd end;
  };
  std::optional<Dead> poll_dead();
  /// Only the batch that goes first may start: what is held otherwise is much.
  void hold_back(bool holding) { holding_back_ = holding; }
  /// Batches are short: a second one may be started for each worker, to be run when the first has ended. Not with lanes.
  void run_ahead(bool ahead) { ahead_ = ahead && !options_.joins; }
  /// So many workers from now on; those above take nothing new. Requires: at least one, and no lanes.
  void set_workers(std::uint32_t workers);
  /// Nothing starts any more: the flow ends.
  void stop() { stopped_ = true; }
  std::optional<TimePoint> poll_deadline() const;  // when a batch has rested

  struct Broken {
    BatchNumber batch = 0;
    std::uint32_t attempts = 0;
    AttemptEnd end;
  };
  const std::optional<Broken>& broken() const { return broken_; }
  /// The input has ended, and everything is settled.
  bool finished() const { return source_ended_ && held_.empty(); }
  std::uint64_t retried() const { return retried_; }

 private:
  enum class State : std::uint8_t { waiting, resting, running, done, writing, dead };
  // A place to run one; those that run ahead go last.
  struct Place {
    bool ahead = false;
    Worker worker = 0;
    auto operator<=>(const Place&) const = default;
  };
  struct Held {
    State state = State::waiting;
    std::optional<Worker> lane;
    TimePoint rests_until{};
    std::uint32_t failures = 0;
    std::uint32_t losses = 0;
    std::uint32_t attempts() const { return failures + losses; }
  };

  void run_again(BatchNumber batch, Held& held, TimePoint now);
  void condemn(BatchNumber batch, Held& held, AttemptEnd end);
  void settle(BatchNumber batch);
  bool somebody_free() const { return !free_.empty() && (ahead_ || !free_.begin()->ahead); }
  bool has_worker(const Held& held) const {
    return held.lane ? free_.contains({.worker = *held.lane}) : somebody_free();
  }
  bool goes_first(BatchNumber batch) const { return held_.begin()->first == batch; }

  EachWorkOptions options_;
  std::map<BatchNumber, Held> held_;
  std::map<BatchNumber, Place> running_;
  std::set<Place> free_;
  std::set<Worker> left_;
  std::set<BatchNumber> startable_;  // waiting and resting, in order
  std::size_t resting_ = 0;          // of these
  std::deque<BatchNumber> writable_;
  std::deque<Dead> to_bury_;
  std::optional<Broken> broken_;
  bool holding_back_ = false;
  bool ahead_ = false;
  bool source_ended_ = false;
  bool stopped_ = false;
  std::uint64_t retried_ = 0;
};

}  // namespace sluice::flow
