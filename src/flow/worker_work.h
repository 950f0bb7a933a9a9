#pragma once
// What becomes of the records of a `worker` stage: which worker is given which, what counts as done, and what runs again
// when one failed or a worker was lost.
//
// A worker is a process that speaks the protocol of docs/protocol-workers.md: it says hello, grants credit, and settles
// each record that it is given, done or failed, in any order. What it has not settled when it ends is given to others,
// or to a new process in its seat. The first time it may have been the process; what was with one that ended twice is
// *suspect*: it is given to workers that have nothing else in hand, in small parts, at last alone, so that the record
// which ends its worker is found and the others are not blamed for it. Only alone is a record condemned.
//
//   none -> starting -> open -> closing -> none, retired        of a seat
//     ^        '--------'---------'---> doomed -> none          its process is to be killed
//     '-- a process has ended: restart says whether the seat is filled anew, or else retired
//
// A worker has in hand at most what it grants; within that, as many as it works on at a time, or what it settles in
// `kAhead`: little with a slow one, or its last records would be waited for while others have none.
//
// Where several links lead into the stage, a worker's concurrency is divided evenly over those that have not ended, and
// nothing is given ahead of it: what a worker holds of one link, until its counterpart comes over another, never keeps
// that one waiting. With fewer than one record for each link they share it. A worker that joins records can't be told to
// finish what it has before it is given suspects, so there are none: what was with too many workers that ended is
// condemned.
//
// Workers may join a stage that says so, and leave it: the process of one that has joined is started once, and how it ends
// breaks nothing. Without anybody such a stage waits. One that has nothing in hand is told the end when nobody has: what
// others have may come back, and it would only join again.
//
// With lanes, each worker has records of its own; while one of them rests, those behind it wait.
// A stage whose workers are sources takes no input: what they write belongs to no record.
// Invariants: of each record there is one: it waits, rests, is suspect, is in one hand, or is being buried.
// Order for the shell: after every input ask poll() for every worker, until it says `nothing`.
// Threading: pure; no clock, no I/O.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "flow/each_work.h"
#include "flow/restart.h"
#include "flow/worker_hand.h"
#include "link/pending_records.h"
#include "link/worker_frames.h"

namespace sluice::flow {

struct WorkerWorkOptions {
  std::uint32_t workers = 1;
  bool joins = false;  // others may join these; not with lanes. Only then `workers` may be 0
  bool lanes = false;
  std::uint32_t links = 1;                      // into the stage
  std::uint64_t ahead_max = ~std::uint64_t{0};  // records in hand of one worker, beyond what it works on at a time
  std::uint32_t concurrency = 0;                // what the flow says; 0: each worker what it wishes
  std::uint32_t retries = 0;                    // of a record that a worker says has failed
  std::uint32_t losses = 3;                     // of one whose worker has ended
  bool buries = false;                          // what failed for good is buried; else it breaks the stage
  Restart restart = Restart::never;
  std::size_t waiting_bytes_max = std::size_t{1} << 20;  // of one link
  std::size_t hand_bytes_max = std::size_t{4} << 20;     // of one worker, whatever it grants
  std::size_t give_bytes_max = std::size_t{64} << 10;    // at once
  std::uint32_t part_max = 64;                           // suspects that are given at once
  std::uint32_t endings_max = 5;                         // in a row, of a seat with nothing in hand or settled
  Duration hello_wait = std::chrono::seconds(30);
  Duration quiet_wait = std::chrono::seconds(60);  // with records in hand, and nothing settled
  Duration backoff_first = std::chrono::milliseconds(100);
  Duration backoff_max = std::chrono::seconds(10);
};

/// Where a record of a stage comes from, and whose it is.
struct RecordOrigin {
  std::uint32_t lane = 0;  // with lanes only, and then the worker
  LinkNumber link = 0;
};

class WorkerWork final {
 public:
  using Worker = std::uint32_t;  // from 0
  using Outcome = std::expected<void, std::string>;

  explicit WorkerWork(const WorkerWorkOptions& options);

  // --- input ------------------------------------------------------------------------------------------------------

  /// Not before a worker has said that it takes records.
  bool wants_input(LinkNumber link = 0) const;
  /// Requires: ids above all before.
  void on_batch(link::RecordBatch batch, RecordOrigin origin = {});
  /// Of the link.
  void on_source_end(LinkNumber link = 0);

  // --- what a worker says. Errors: a sentence; it may not say that, and is to be doomed ----------------------------

  Outcome on_hello(Worker worker, const link::WorkerHello& hello);
  Outcome on_credit(Worker worker, const link::WorkerCredit& credit);
  Outcome on_done(Worker worker, const link::WorkerRange& range, TimePoint now);
  Outcome on_failed(Worker worker, const link::WorkerFailure& failure, TimePoint now);
  /// It wants no more.
  Outcome on_leave(Worker worker);
  /// It has nothing more to say.
  Outcome on_finished(Worker worker);
  /// It may write an output for that record; 0: for none.
  Outcome may_write(Worker worker, link::RecordId id) const;

  // --- workers that come and go -----------------------------------------------------------------------------------

  /// It is to be given records. Requires: the next number, or that of one that has joined and is retired.
  void on_joined(Worker worker);
  /// It takes no more: what it has in hand it may settle.
  void on_leaving(Worker worker);
  /// Nothing is started for it any more.
  bool retired(Worker worker) const { return seats_[worker].state == State::retired; }

  /// Its process is to be killed, since it does not keep to the protocol.
  void doom(Worker worker, std::string why);
  /// Its process has ended, and all that it had said was heard before.
  void on_ended(Worker worker, AttemptEnd end, TimePoint now);

  // --- what to do -------------------------------------------------------------------------------------------------

  struct Action {
    enum class Kind {
      nothing,
      start,  // a process for this worker
      give,   // these records to it
      end,    // tell it that no more come
      kill,   // its process
    };
    Kind kind = Kind::nothing;
    link::RecordBatch batch;
    std::uint32_t attempt = 0;  // of the batch, from 1
  };
  /// No record above `limit` is given.
  Action poll(Worker worker, link::RecordId limit, TimePoint now);
  /// When to ask poll() again although nothing has happened.
  std::optional<TimePoint> poll_deadline() const;

  struct Dead {
    link::RecordBatch record;  // one
    std::uint32_t attempts = 0;
    AttemptEnd end;
    Worker worker = 0;
    LinkNumber link = 0;
  };
  /// A worker has records in hand, and has settled nothing for `quiet_wait`. Told once of each process.
  struct Quiet {
    Worker worker = 0;
    std::uint64_t in_hand = 0;
    bool was_idle = false;  // it had nothing else to do when it was given them
  };
  std::optional<Quiet> poll_quiet(TimePoint now);
  std::optional<TimePoint> quiet_deadline() const;
  /// What workers say is not heard: their silence counts from here.
  void on_deaf(TimePoint now);
  std::optional<Dead> poll_dead();
  void on_buried() { --burying_; }
  /// So many workers from now on. Those above are told the end, and sources are not replaced. Requires: at least one,
  /// and no lanes.
  void set_workers(std::uint32_t workers);
  /// Nothing starts any more, and nothing is given: the flow ends.
  void stop() { stopped_ = true; }

  // --- how it stands ----------------------------------------------------------------------------------------------

  struct Broken {
    enum class Why {
      record_failed,  // a worker says so
      record_died,    // it has ended every worker that had it
      nobody_left,    // all workers have ended, or the one that a record belongs to
      source_lost,
      idle_endings,  // a seat whose processes end without having done anything
      end_lost,      // one ended behind the end of its input, before it had finished
    };
    Why why = Why::nobody_left;
    AttemptEnd end;
    Worker worker = 0;
    link::RecordId record = 0;
    std::uint64_t in_hand = 0;
    std::uint32_t attempts = 0;
    bool said_hello = false;
  };
  const std::optional<Broken>& broken() const { return broken_; }
  bool finished() const;
  std::uint32_t running() const;
  bool is_source() const { return source_.value_or(false); }
  bool said_hello(Worker worker) const { return seats_[worker].said_hello; }
  /// Why its process is killed, or was: until another is started for it. Empty: it is not.
  const std::string& doomed_for(Worker worker) const { return seats_[worker].doomed_for; }
  std::uint64_t in_hand(Worker worker) const { return seats_[worker].hand.count(); }
  std::uint64_t retried() const { return retried_; }
  /// Of one link: records that wait for a worker, or for their next attempt.
  std::uint64_t waiting(LinkNumber link) const { return links_[link].waiting; }
  /// Of one link: records that workers have in hand.
  std::uint64_t in_hand_of(LinkNumber link) const;
  /// Records of that link wait for a worker, and none has room for one.
  bool is_full(LinkNumber link) const;
  /// Nothing will be done again, started or ended by itself.
  bool is_steady() const;
  /// Its workers have settled records of several links together, and hardly ever those of one link alone.
  bool joins() const { return joined_ > 0 && kJoinedForEachAlone * alone_ <= joined_; }
  /// Records that could be given to workers now.
  std::uint64_t credit() const;

 private:
  enum class State : std::uint8_t { none, starting, open, closing, doomed, retired };
  struct Lane {
    std::vector<link::PendingRecords> waiting;  // by link
    link::PendingRecords suspects;              // to be given in parts
    link::PendingRecords alone;                 // to be given one by one
    std::uint32_t resting = 0;

    bool has_suspects() const { return !suspects.empty() || !alone.empty(); }
    bool empty() const {
      return !has_suspects() && std::ranges::all_of(waiting, [](const auto& records) { return records.empty(); });
    }
    link::PendingRecords& first_suspects() {
      if (suspects.empty() || alone.empty()) return suspects.empty() ? alone : suspects;
      return suspects.first() < alone.first() ? suspects : alone;
    }
    const link::PendingRecords& first_suspects() const { return const_cast<Lane*>(this)->first_suspects(); }
  };
  struct Seat {
    State state = State::none;
    bool joined = false;  // from elsewhere, and is not the stage's to start again
    bool fresh = true;    // it was never started
    bool said_hello = false;
    bool granted = false;  // credit, whatever it is
    bool leaves = false;   // it has asked for the end
    bool finished = false;
    bool told_end = false;
    bool kill = false;             // it is doomed, and that is still to be done
    bool alone = false;            // it was given one suspect, and nothing else
    bool careful = false;          // it was given suspects, and nothing else
    bool draining = false;         // it is given nothing, so that it can be given suspects
    std::vector<bool> settled_of;  // by link, if there are several: since poll() was asked last
    std::string doomed_for;
    TimePoint hello_due{};
    WorkerHand hand;
    std::uint32_t concurrency = 1;
    link::WorkerCredit credit;
    std::uint64_t window = 1;
    std::uint64_t in_period = 0;           // settled
    TimePoint period{};                    // its beginning
    bool starved = false;                  // in this period
    bool settled_any = false;              // since it had nothing in hand
    std::optional<TimePoint> quiet_since;  // nothing: it has nothing in hand
    bool told_quiet = false;
    std::uint32_t endings = 0;  // in a row, without anything settled
    TimePoint rests_until{};
  };
  struct Resting {
    link::RecordBatch record;
    RecordOrigin origin;
  };
  struct Link {
    bool ended = false;
    std::uint64_t waiting = 0;  // in any lane, or resting
    std::size_t waiting_bytes = 0;

    bool open() const { return !ended || waiting > 0; }
  };

  Worker lane_number(Worker worker) const { return options_.lanes ? worker : 0; }
  Lane& lane_of(Worker worker) { return lanes_[lane_number(worker)]; }
  const Lane& lane_of(Worker worker) const { return lanes_[lane_number(worker)]; }
  bool is_wanted(Worker worker) const { return worker < options_.workers; }
  std::span<const Seat> wanted_seats() const { return std::span(seats_).first(options_.workers); }
  bool speaks(const Seat& seat) const { return seat.state == State::open || seat.state == State::closing; }
  static Action nothing() { return {}; }

  void wake_resting(TimePoint now);
  bool wants_start(Worker worker) const;
  bool source_ended() const {
    return std::ranges::all_of(links_, [](const Link& link) { return link.ended; });
  }
  bool nothing_to_come(const Lane& lane) const { return source_ended() && lane.empty() && lane.resting == 0; }
  Action poll_open(Worker worker, link::RecordId limit, TimePoint now);
  bool may_be_needed(const Seat& seat) const;
  struct Portion {
    std::uint64_t count = 0;  // records at most
    LinkNumber link = 0;
  };
  /// What a seat may hold.
  struct Allowance {
    std::uint64_t records = 0;
    std::size_t bytes = 0;
  };
  Allowance allowance(const Seat& seat) const;
  Allowance allowance(const Seat& seat, LinkNumber link) const;
  std::size_t bytes_left(const Seat& seat, LinkNumber link) const;
  std::uint64_t room(const Seat& seat) const;
  std::uint64_t room_for(const Seat& seat, LinkNumber link) const;
  std::uint64_t share_of(const Seat& seat, const Lane& lane, LinkNumber link) const;
  std::optional<Portion> next_portion(const Seat& seat, const Lane& lane, link::RecordId limit) const;
  void note_settled(Seat& seat, LinkNumber link);
  void count_together(Seat& seat);
  void put_waiting(link::RecordBatch batch, RecordOrigin origin);
  void count_waiting(const link::RecordBatch& batch, LinkNumber link);
  bool somebody_makes_room(const Lane& lane) const;
  Action give(Seat& seat, link::PendingRecords& from, Portion portion, link::RecordId limit, TimePoint now);
  bool is_watched(const Seat& seat) const { return speaks(seat) && seat.quiet_since && !seat.told_quiet; }
  void on_settled(Seat& seat, std::uint64_t count, TimePoint now);
  void give_back(Worker worker, const AttemptEnd& end);
  void settle_seat(Worker worker, const AttemptEnd& end, std::uint64_t in_hand, TimePoint now);
  void condemn(Worker worker, LinkNumber link, link::RecordBatch record, std::uint32_t attempts, const AttemptEnd& end,
               Broken::Why why);
  void break_with(Broken broken);
  Duration rest_after(std::uint32_t times) const;

  WorkerWorkOptions options_;
  std::vector<Lane> lanes_;
  std::vector<Seat> seats_;  // those of workers that are not wanted any more, too
  std::vector<Link> links_;
  static constexpr std::uint64_t kJoinedForEachAlone = 16;
  std::uint64_t joined_ = 0, alone_ = 0;  // how often records of several links were settled together, or of one
  std::multimap<TimePoint, Resting> resting_;
  std::map<link::RecordId, std::uint32_t> failures_;  // of records that failed and are not settled
  std::deque<Dead> dead_;
  std::size_t burying_ = 0;
  std::optional<Broken> broken_;
  std::optional<bool> source_;  // its workers are; nobody has said yet
  bool stopped_ = false;
  std::uint64_t retried_ = 0;
};

}  // namespace sluice::flow
