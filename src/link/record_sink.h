#pragma once
// Where the records of a link go. An intake (record_intake.h) hands them over while the sink has room, and acknowledges
// what the sink has settled, at once or later.
// Threading: every function is called on the intake's loop and must not block it; the destructor on the owner's thread.
#include <expected>
#include <optional>
#include <string>
#include <variant>

#include "link/data_loops.h"
#include "link/loop_waker.h"
#include "link/record_consumer.h"

namespace sluice::link {

class RecordSink {
 public:
  struct Failure {
    bool reader_gone = false;  // nobody wants the records any more, which is no failure of ours
    int error_number = 0;
    std::string why;
  };
  /// Done with these for good, or with this one in vain.
  using Settled = std::variant<DeliveryRange, RecordNack>;

  virtual ~RecordSink() = default;
  /// Once, before anything else. `waker`: to be used whenever one of the functions below would answer otherwise.
  virtual std::expected<void, Failure> open(const DataLoops::Seat& seat, LoopWaker waker) = 0;
  /// Does what can be done now.
  virtual std::expected<void, Failure> work() { return {}; }
  /// How much it takes now; nothing: it has no room.
  virtual std::optional<RecordConsumer::Limits> room() = 0;
  /// Requires: room() says so.
  virtual void take(RecordDelivery delivery) = 0;
  /// What was settled since it was asked last, each delivery once.
  virtual std::optional<Settled> poll_settled() = 0;
  /// The intake is over. What must not be seen to close before the owner knows of the end stays open until the destructor.
  virtual void close() {}
};

}  // namespace sluice::link
