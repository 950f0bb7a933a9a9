#pragma once
// What becomes of the records of a `@map` stage: which worker's process is given which, what an answer belongs to, and
// what runs again when a process was lost.
//
// A process of `@map` stays running and answers each record that it reads with one record, in their order; so the first
// answer is that of the first record which is unanswered. What a process has not answered when it ends runs again. The
// first time it may have been the process; what was with a process that ended twice is *suspect*: it is given to fresh
// processes in small parts with the end of their input behind, at last alone, so that the record which ends its process
// is found and the others are not blamed for it. Only alone is a record condemned.
//
//   none -> streaming -> closing -> none       of a worker's process
//     '---> careful ------^                    a part of the suspects, then the end of its input
//
// How much a process is given ahead of its answers follows what it answers in a tenth of a second: little to a slow one,
// or its last records would be waited for while others have none. One that answers in bursts, since it buffers its
// output, is given two bursts; one that answers nothing, more and more up to `stall_bytes`.
//
// Workers may join a stage that says so, and leave it; without anybody it waits.
//
// With lanes, each worker has records of its own, and suspects go before newer ones. Ids are those of the stage's input.
// Invariants: what a process has not answered is within `window_*`, or one batch.
// Order for the shell: when a worker's input takes something, ask poll() until it says `nothing`.
// Threading: pure; no clock, no I/O.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "flow/each_work.h"
#include "link/pending_records.h"
#include "link/record_batch.h"

namespace sluice::flow {

struct MapWorkOptions {
  std::uint32_t workers = 1;
  bool joins = false;  // others may join these; not with lanes. Only then `workers` may be 0
  bool lanes = false;
  std::uint32_t retries = 0;  // of a record whose process ended with a status
  std::uint32_t losses = 3;   // of one whose process a signal ended
  bool buries = false;        // what failed for good is buried; else it breaks the stage
  std::size_t waiting_bytes_max = std::size_t{1} << 20;
  std::size_t window_bytes = std::size_t{1} << 20;  // given to one process and not answered
  std::uint64_t window_records_first = 2, window_records_max = std::uint64_t{1} << 17;
  std::size_t stall_bytes = std::size_t{64} << 10;     // how far the window grows for one that answers nothing
  std::size_t give_bytes_max = std::size_t{64} << 10;  // at once
  std::uint32_t part_max = 64;                         // suspects that are given to one process
  Duration backoff_first = std::chrono::milliseconds(100);
  Duration backoff_max = std::chrono::seconds(10);
};

class MapWork final {
 public:
  using Worker = std::uint32_t;  // from 0

  explicit MapWork(const MapWorkOptions& options);

  bool wants_input() const;
  /// Requires: ids above all before. `lane`: with lanes only, and then the worker.
  void on_batch(link::RecordBatch batch, Worker lane = 0);
  void on_source_end() { source_ended_ = true; }

  /// It is to be given records. Requires: the next number, or that of one that has joined and is retired.
  void on_joined(Worker worker);
  /// It takes no more: what it was given it may answer.
  void on_leaving(Worker worker);
  /// Nothing is started for it any more.
  bool retired(Worker worker) const { return seats_[worker].state == State::retired; }

  struct Action {
    enum class Kind {
      nothing,
      start,  // a process for this worker
      give,   // these records to it; then the end of its input, if `ends`
      close,  // the end of its input
    };
    Kind kind = Kind::nothing;
    link::RecordBatch batch;
    bool ends = false;
  };
  /// No record above `limit` is given.
  Action poll(Worker worker, link::RecordId limit, TimePoint now);
  std::optional<TimePoint> poll_deadline() const;  // when a worker has rested

  struct Answered {
    link::RecordId first = 0;
    std::uint32_t count = 0;
  };
  /// Which records the next `count` answers of a process belong to. Errors: a sentence; it has answered more than it
  /// was given.
  std::expected<std::vector<Answered>, std::string> on_answers(Worker worker, std::uint32_t count, TimePoint now);
  /// Its process has read all that it was given and has answered nothing for a while. False: it is given no more for
  /// that. A program of which one process was seen to answer record by record keeps no answers: it is slow.
  bool on_stalled(Worker worker);
  bool answers_one_by_one() const { return one_by_one_; }
  /// Its process is to be told the end of its input: it may keep answers in a buffer. Requires: streaming.
  void flush(Worker worker) { seats_[worker].flush = true; }
  /// Its process has ended, and what it had printed was answered before.
  void on_ended(Worker worker, AttemptEnd end, TimePoint now);

  struct Dead {
    link::RecordBatch record;  // one
    std::uint32_t attempts = 0;
    AttemptEnd end;
    Worker worker = 0;
  };
  std::optional<Dead> poll_dead();
  void on_buried() { --burying_; }
  /// So many workers from now on; the processes of those above are told the end of their input. Requires: at least
  /// one, and no lanes.
  void set_workers(std::uint32_t workers);
  /// Nothing starts any more: the flow ends.
  void stop() { stopped_ = true; }

  struct Broken {
    AttemptEnd end;
    Worker worker = 0;
    std::uint64_t unanswered = 0;  // 0: it ended before its input did
    std::uint32_t attempts = 0;
  };
  const std::optional<Broken>& broken() const { return broken_; }
  bool finished() const;
  /// Processes that run.
  std::uint32_t running() const;
  std::uint64_t unanswered(Worker worker) const { return seats_[worker].unanswered; }
  /// The lowest id that this worker's process has not answered. Requires: there is one.
  link::RecordId oldest(Worker worker) const { return seats_[worker].given.front().first(); }
  /// It is given no more before it answers.
  bool full(Worker worker) const { return room(seats_[worker]) == 0; }
  bool streaming(Worker worker) const { return seats_[worker].state == State::streaming; }
  std::uint64_t retried() const { return retried_; }
  /// Records that could be given to processes now.
  std::uint64_t credit() const;

 private:
  enum class State : std::uint8_t { none, streaming, careful, closing, retired };
  struct Lane {
    link::PendingRecords waiting;
    link::PendingRecords suspects;  // to be given in parts
    link::PendingRecords alone;     // to be given one by one

    bool has_suspects() const { return !suspects.empty() || !alone.empty(); }
    bool empty() const { return waiting.empty() && !has_suspects(); }
    /// The suspects that go first. Requires: has_suspects().
    link::PendingRecords& first_suspects() {
      if (suspects.empty() || alone.empty()) return suspects.empty() ? alone : suspects;
      return suspects.first() < alone.first() ? suspects : alone;
    }
  };
  struct Seat {
    State state = State::none;
    bool joined = false;  // from elsewhere
    bool leaves = false;
    bool alone = false;  // its process was given one suspect
    bool flush = false;
    std::deque<link::RecordBatch> given;  // not answered
    std::uint64_t unanswered = 0;
    std::size_t unanswered_bytes = 0;
    std::uint64_t window = 0;
    std::uint64_t burst = 1;      // the most answers at once, of late
    std::uint64_t in_period = 0;  // answers
    TimePoint period{};           // its beginning
    bool starved = false;         // in this period
    std::uint32_t endings = 0;    // in a row, without an answer
    TimePoint rests_until{};
  };

  std::uint64_t room(const Seat& seat) const;
  std::uint64_t share_of(const Seat& seat, const Lane& lane, TimePoint now) const;
  void adapt_window(Seat& seat, std::uint32_t answers, TimePoint now);
  Lane& lane_of(Worker worker) { return lanes_[options_.lanes ? worker : 0]; }
  const Lane& lane_of(Worker worker) const { return lanes_[options_.lanes ? worker : 0]; }
  bool is_wanted(Worker worker) const { return worker < options_.workers; }
  std::span<const Seat> wanted_seats() const { return std::span(seats_).first(options_.workers); }
  bool somebody_is_careful() const;
  Action give(Seat& seat, link::PendingRecords& from, std::uint32_t count, link::RecordId limit);
  void give_back(Worker worker, const AttemptEnd& end);
  void condemn(Worker worker, link::RecordBatch record, const AttemptEnd& end);
  void break_with(Worker worker, const AttemptEnd& end, std::uint64_t unanswered, std::uint32_t attempts);

  MapWorkOptions options_;
  std::vector<Lane> lanes_;
  std::vector<Seat> seats_;  // those of workers that are not wanted any more, too
  std::deque<Dead> dead_;
  std::size_t burying_ = 0;
  std::optional<Broken> broken_;
  bool one_by_one_ = false;
  bool source_ended_ = false;
  bool stopped_ = false;
  std::uint64_t retried_ = 0;
};

}  // namespace sluice::flow
