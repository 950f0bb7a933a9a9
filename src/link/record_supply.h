#pragma once
// The producer's end of a record link with its connections: pulls a source while a consumer has credit, and sends each
// record to the one that is readiest. The rules are record_producer.h's; this drives them on a loop of DataLoops.
//
// A consumer is connected by its owner, on a connection whose first frame was sent and answered already, whichever side
// dialled. One that breaks a rule is told why and loses its connection; the others go on. One that cancels, that reads
// nothing of what it has granted credit for, or that nobody hears of for the time to come back, gives back what it had not
// settled.
// What waits in memory is bounded by RecordProducerOptions, and by half a MiB for each connection.
//
// Threading: the functions, the handle and the callbacks belong to the thread of `RecordSupplyOptions::owner`. The source
// lives on a loop of DataLoops, which must be closed before the owner's executor goes.
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "base/time.h"
#include "link/data_loops.h"
#include "link/record_producer.h"
#include "link/record_source.h"
#include "net/async.h"
#include "net/connection.h"

namespace sluice::link {

/// A connection that came too late: another generation has taken its place, or the consumer's end is known.
struct RecordConsumerRefused {
  ConsumerNumber consumer = 0;
  std::string reason;
};
/// RecordRejected is to be answered with `retry` or `bury`. RecordConsumerCancelled: it is taken for lost, and
/// RecordConsumerGone follows; whether the link is to end is the owner's to say.
using RecordSupplyEvent = std::variant<RecordRejected, RecordConsumerGone, RecordConsumerLeft, RecordConsumerCancelled,
                                       RecordConsumerRefused>;

struct RecordSupplyEnd {
  enum class Kind {
    ended,         // every record is settled
    cancelled,     // by `cancel`, or because the loops closed
    failed_local,  // the source failed, or there was no loop
  };
  Kind kind = Kind::ended;
  std::string message;  // for people, empty after a good end
  RecordCounts counts;
};

struct RecordSupplyOptions {
  net::asio::any_io_executor owner;  // where the callbacks are called
  RecordProducerOptions producer;
  /// The link does not end before so many consumers have come or were lost, so that each hears its end.
  std::size_t consumers = 1;
  /// How long a consumer may read nothing of what it has granted credit for. Whoever grants credit has room for it,
  /// whatever its program does; what is kept for one that does not read would be kept for ever.
  Duration stall_max = std::chrono::seconds(60);
  /// How long a connection may take to say what it expects.
  Duration attach_max = std::chrono::seconds(5);
  /// How long a connection that is over still sees to its last words; and how long consumers may take to confirm the end.
  Duration farewell_max = std::chrono::seconds(5);
};

struct RecordSupplyCallbacks {
  std::move_only_function<void(RecordSupplyEvent)> on_event;
  /// Once, and last.
  std::move_only_function<void(RecordSupplyEnd)> on_end;
};

class RecordSupplyPump;
struct RecordSupplyCore;

/// The owner's hold on a supply that runs.
class RecordSupply final {
 public:
  RecordSupply(RecordSupply&&) noexcept = default;
  RecordSupply& operator=(RecordSupply&& other) noexcept;
  /// Cancels, and no callback is called any more.
  ~RecordSupply();

  /// A connection of that consumer is there; it replaces one that it had, and a later generation replaces the consumer.
  void connect(ConsumerNumber consumer, std::uint32_t generation, net::Connection::Parts parts);
  /// That consumer will not come back in this generation: what it had goes to others at once.
  void lose(ConsumerNumber consumer, std::string reason);
  /// Of a record that was sent back.
  void retry(RecordBatch record);
  void bury(RecordBatch record);
  /// Ends the link without its end; every consumer is told why. on_end(cancelled) follows, or the end that was faster.
  void cancel(std::string reason);

  struct Progress {
    std::uint64_t accepted = 0;       // records that the source gave
    std::uint64_t acknowledged = 0;   // ... and consumers have settled
    std::uint64_t waiting_bytes = 0;  // ... and no consumer was given yet
  };
  /// As of the last turn. Any thread may ask.
  Progress progress() const;

 private:
  friend RecordSupply start_supply(DataLoops&, std::unique_ptr<RecordSource>, RecordSupplyOptions,
                                   RecordSupplyCallbacks);
  RecordSupply(std::shared_ptr<RecordSupplyCore> core, std::weak_ptr<RecordSupplyPump> pump,
               std::optional<LoopMailbox> loop);
  template <class Work>
  void post(Work work) const;
  void drop();

  std::shared_ptr<RecordSupplyCore> core_;  // with the loop
  std::weak_ptr<RecordSupplyPump> pump_;
  std::optional<LoopMailbox> loop_;  // none: there was no loop for it
};

RecordSupply start_supply(DataLoops& loops, std::unique_ptr<RecordSource> source, RecordSupplyOptions options,
                          RecordSupplyCallbacks callbacks);

}  // namespace sluice::link
