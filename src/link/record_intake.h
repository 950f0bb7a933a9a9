#pragma once
// A consumer's end of a record link, to one producer, with its connection: hands what comes to a sink, acknowledges what
// the sink has settled, and comes back when its connection breaks. The rules are record_consumer.h's; this drives them on
// a loop of DataLoops.
//
// Memory is bounded by the windows of RecordConsumerOptions and one frame.
//
// **Who destroys the sink.** The owner's thread: after a good end when on_end has returned; after any other end when the
// owner says `release` or drops the handle. A stage that reads must be killed before its stdin closes, or it takes the
// part that it was given for the whole.
//
// Threading: the functions, the handle and the callbacks belong to the thread of `RecordIntakeOptions::owner`. The sink
// is used on a loop of DataLoops, which must be closed before the owner's executor goes.
#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/time.h"
#include "link/data_loops.h"
#include "link/record_consumer.h"
#include "link/record_sink.h"
#include "net/async.h"
#include "net/connection.h"

namespace sluice::link {

struct RecordIntakeEnd {
  enum class Kind {
    ended,          // every record of the link is settled, or this consumer has drained
    reader_closed,  // the sink's reader wants no more; what was not settled goes to other consumers
    aborted,        // the producer cancelled the link, or refused us
    cut,            // the connection broke and could not be replaced, or the producer broke the rules
    cancelled,      // by `cancel`, or because the loops closed
    failed_local,   // the sink failed (`error_number`), or there was no loop
  };
  Kind kind = Kind::cut;
  int error_number = 0;
  std::uint64_t received = 0, settled = 0;  // records
  std::string message;                      // for people, empty after a good end
};

/// Why there is no connection.
struct RecordDialFailure {
  std::string why;
  bool for_good = false;  // to try again is of no use
};
using RecordDialled = std::expected<net::Connection::Parts, RecordDialFailure>;
/// Makes a connection on which the first frame was sent and answered, and answers once, on any thread, by the deadline.
/// `attempt` counts from 1. Called on the owner's thread; one at a time.
using RecordDial = std::move_only_function<void(std::uint32_t attempt, TimePoint deadline,
                                                std::move_only_function<void(RecordDialled)> answer)>;

struct RecordIntakeOptions {
  net::asio::any_io_executor owner;  // where the callbacks are called
  RecordConsumerOptions consumer;
  /// How long a connection may be missing, from the start or since it broke.
  Duration reattach_max = std::chrono::seconds(10);
  /// Between two attempts to dial, growing from the first to the second.
  Duration redial_min = std::chrono::milliseconds(20);
  Duration redial_max = std::chrono::seconds(1);
  /// How long a connection that is over still sees to its last words.
  Duration farewell_max = std::chrono::seconds(5);
};

struct RecordIntakeCallbacks {
  /// None: the producer's side dials, and the owner says `connect`.
  RecordDial dial;
  /// Once, and last.
  std::move_only_function<void(RecordIntakeEnd)> on_end;
};

class RecordIntakePump;
struct RecordIntakeCore;

/// The owner's hold on an intake that runs.
class RecordIntake final {
 public:
  RecordIntake(RecordIntake&&) noexcept = default;
  RecordIntake& operator=(RecordIntake&& other) noexcept;
  /// Cancels, and on_end is not called any more.
  ~RecordIntake();

  /// A connection that the other side has made; it replaces one that there is.
  void connect(net::Connection::Parts parts);
  /// Asks to leave: the end comes when what was received is settled.
  void drain();
  /// Nothing new is sent here while it is paused.
  void pause();
  void resume();
  /// Ends this consumer; the producer is told why, and what was not settled goes to others.
  void cancel(std::string reason);
  /// Destroys the sink that a bad end left, or does not keep it if the end is still to come.
  void release();

  struct Progress {
    std::uint64_t received = 0;  // records
    std::uint64_t settled = 0;
    std::uint64_t settled_bytes = 0;
  };
  /// As of the last turn. Any thread may ask.
  Progress progress() const;

 private:
  friend RecordIntake start_intake(DataLoops&, std::unique_ptr<RecordSink>, RecordIntakeOptions, RecordIntakeCallbacks);
  RecordIntake(std::shared_ptr<RecordIntakeCore> core, std::weak_ptr<RecordIntakePump> pump,
               std::optional<LoopMailbox> loop);
  template <class Work>
  void post(Work work) const;
  void drop();

  std::shared_ptr<RecordIntakeCore> core_;  // with the loop
  std::weak_ptr<RecordIntakePump> pump_;
  std::optional<LoopMailbox> loop_;  // none: there was no loop for it
};

RecordIntake start_intake(DataLoops& loops, std::unique_ptr<RecordSink> sink, RecordIntakeOptions options,
                          RecordIntakeCallbacks callbacks);

}  // namespace sluice::link
