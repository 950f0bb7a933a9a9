#pragma once
// The producer's end of a record link: hands each record to the consumer that is readiest, keeps it until it is
// acknowledged, and gives it to another when that consumer is lost.
//
// Records come in batches, in the order of their ids, while wants_input() says so; when it does not, the tap is closed
// and the shell reads its source no more. Each consumer grants credit, in records and in bytes. What it was given and
// has not settled is *in flight*; a consumer that is lost, or replaced by a later generation of itself, gives all of
// that back, in order, before anything newer. A consumer whose connection broke may attach again and goes on where it
// was. A record that a consumer sends back is the owner's to judge (RecordRejected): `retry` or `bury` it. Until then
// it is held.
//
// Invariants: accepted = acknowledged + buried + pending + held + in flight. Bytes that wait are at most
// `pending_bytes_max` and one batch; those in flight to a consumer are within the credit that it granted and
// `flight_bytes_max`, or one record.
// Order for the shell: after every input ask poll_event() and poll_transmit() of every consumer until they are empty.
// Threading: pure; no clock, no I/O.
//
//   connecting -> attached -> ending -> over        a consumer: the link's end was said and confirmed
//        ^            |          |
//        '-- cut <----'----------'                  its connection broke; for `reattach_max` it may come back
//             '-> gone                              it did not, broke a rule, or the owner says that it is lost
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/time.h"
#include "link/delivery_set.h"
#include "link/pending_records.h"
#include "link/record_batch.h"
#include "link/record_frames.h"

namespace sluice::link {

/// A consumer of one link; it keeps its number when its program is started again.
using ConsumerNumber = std::uint32_t;

/// What a producer may be granted beyond what is settled; whoever grants more breaks the protocol.
inline constexpr std::uint64_t kCreditRecordsMax = std::uint64_t{1} << 24;
inline constexpr std::uint64_t kCreditBytesMax = std::uint64_t{1} << 32;

struct RecordProducerOptions {
  std::size_t pending_bytes_max = std::size_t{1} << 20;  // of records that wait; above, the tap is closed
  std::size_t pending_records_max = std::size_t{1} << 20;
  std::size_t batch_bytes_max = std::size_t{128} << 10;  // of one delivery of several records
  /// In flight to one consumer, whatever it grants: what a fast sender may have to keep for a far receiver.
  std::size_t flight_bytes_max = std::size_t{8} << 20;
  /// Given to a consumer and not yet to its connection: a connection that does not take what it has is not ready.
  std::size_t outbox_bytes_max = std::size_t{256} << 10;
  Duration reattach_max = std::chrono::seconds(10);
};

/// Sent back by a consumer. The owner calls `retry` or `bury` with it, now or later.
struct RecordRejected {
  ConsumerNumber consumer = 0;
  NackCause cause = NackCause::failed;
  std::string reason;
  RecordBatch record;  // one
};
/// It is gone, and what it had not settled waits again.
struct RecordConsumerGone {
  ConsumerNumber consumer = 0;
  std::uint64_t given_back = 0;
  std::string reason;
};
/// It has drained and left.
struct RecordConsumerLeft {
  ConsumerNumber consumer = 0;
};
/// It wants the whole link to end.
struct RecordConsumerCancelled {
  ConsumerNumber consumer = 0;
  std::string reason;
};
using RecordProducerEvent =
    std::variant<RecordRejected, RecordConsumerGone, RecordConsumerLeft, RecordConsumerCancelled>;

struct RecordCounts {
  std::uint64_t accepted = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t buried = 0;
  std::uint64_t pending = 0;
  std::uint64_t held = 0;
  std::uint64_t in_flight = 0;
  bool operator==(const RecordCounts&) const = default;
};

class RecordProducer final {
 public:
  explicit RecordProducer(const RecordProducerOptions& options = {}) : options_(options) {}

  // --- the source ---
  bool wants_input() const;
  /// Requires: wants_input(), and ids above all before. An empty batch is nothing.
  void on_batch(RecordBatch batch);
  /// Nothing more comes. Once everything is settled, the consumers are told the end.
  void on_source_end();
  /// The link ends without its end; every consumer is told why.
  void cancel(std::string reason);

  // --- consumers ---
  /// A connection of that consumer is there; it replaces one that it had. A later generation replaces the consumer.
  /// Errors: a sentence; the generation is over, or the consumer has left. The connection is to be closed.
  std::expected<void, std::string> on_connected(ConsumerNumber consumer, std::uint32_t generation);
  /// Errors: a sentence; it broke the protocol. It is gone then, and its connection is to be closed after what
  /// poll_transmit still gives.
  std::expected<void, std::string> on_bytes(ConsumerNumber consumer, std::span<const std::byte> bytes);
  void on_disconnected(ConsumerNumber consumer, TimePoint now);
  /// The owner knows that it will not come back in this generation.
  void on_lost(ConsumerNumber consumer, std::string reason);
  void on_deadline(TimePoint now);
  std::optional<TimePoint> poll_deadline() const;

  /// A consumer in this process, without a connection. It has credit for so many records, within `flight_bytes_max`.
  void attach_local(ConsumerNumber consumer, std::uint64_t records = ~std::uint64_t{0});
  /// A local consumer has credit for so many records more.
  void grant(ConsumerNumber consumer, std::uint64_t records);
  /// What is next for a local consumer.
  std::optional<RecordDelivery> poll_delivery(ConsumerNumber consumer);
  /// A local consumer is done with these. Requires: they were polled.
  void settle(ConsumerNumber consumer, DeliveryRange range);

  struct Transmit {
    std::string head;  // a whole frame, if there is no batch behind it
    std::string_view table, bytes;
    RecordBatch batch;  // keeps what the views show
  };
  /// What is next for that consumer's connection.
  std::optional<Transmit> poll_transmit(ConsumerNumber consumer);
  bool connected(ConsumerNumber consumer) const;
  /// It has a connection, and has said on it what it expects.
  bool attached(ConsumerNumber consumer) const;

  // --- the owner ---
  std::optional<RecordProducerEvent> poll_event();
  /// Of a rejected record. Requires: held.
  void retry(RecordBatch record);
  void bury(const RecordBatch& record);

  RecordCounts counts() const;
  /// Of the records that no consumer was given yet, or that the owner has to judge.
  std::size_t waiting_bytes() const { return pending_.bytes() + held_bytes_; }
  /// All records below are settled.
  RecordId settled_below() const;
  /// Source ended, and every record is settled.
  bool all_settled() const;
  /// ... and every consumer that is still there has confirmed the end; or cancelled.
  bool finished() const;

 private:
  /// Deliveries that were one frame.
  struct Flight {
    DeliveryNumber first = 0;
    Starved starved;
    RecordBatch batch;
    DeliveryNumber last() const { return first + batch.count() - 1; }
  };
  enum class State : std::uint8_t { connecting, attached, ending, over, cut, gone };
  struct Consumer {
    ConsumerNumber number = 0;
    std::uint32_t generation = 0;
    State state = State::connecting;
    bool local = false;
    bool paused = false;
    bool draining = false;
    bool told_end = false;  // on this connection or an earlier one: it may confirm it as soon as it has attached
    TimePoint reattach_until{};
    ConsumerFrameDecoder decoder;
    RecordCredit credit;
    DeliveryNumber assigned = 0;
    std::uint64_t bytes_assigned = 0;
    std::uint64_t bytes_settled = 0;  // of whole flights
    DeliverySet settled;
    std::deque<Flight> flights;        // not wholly settled, in order
    DeliveryNumber transmitted = 0;    // up to this one on this connection
    std::size_t outbox_bytes = 0;      // of flights behind that
    std::deque<DeliveryPiece> pieces;  // of a long record that is under way
    RecordBatch pieces_of;
    std::deque<std::string> control;  // frames to be said before anything else
    std::uint64_t turn = 0;           // when it was given something last

    std::uint64_t in_flight() const { return assigned - settled.size(); }
    std::uint64_t bytes_in_flight() const { return bytes_assigned - bytes_settled; }
    bool has_connection() const {
      return state == State::connecting || state == State::attached || state == State::ending;
    }
    void restart_connection();
  };

  using Checked = std::expected<void, std::string>;
  Checked on_frame(Consumer& consumer, const ConsumerFrame& frame);
  Checked on(Consumer& consumer, const RecordAttach& attach);
  Checked on(Consumer& consumer, const RecordCredit& credit);
  Checked on(Consumer& consumer, const RecordAck& ack);
  Checked on(Consumer& consumer, const RecordNack& nack);
  Checked on(Consumer& consumer, const RecordDone& done);
  Checked on(Consumer& consumer, const RecordCancel& cancel);
  Checked on(Consumer& consumer, const RecordPause&);
  Checked on(Consumer& consumer, const RecordResume&);
  Checked on(Consumer& consumer, const RecordDrain&);
  void acknowledge(Consumer& consumer, DeliveryRange range);
  void forget_settled_flights(Consumer& consumer);
  std::uint64_t give_back(Consumer& consumer);
  void make_gone(Consumer& consumer, std::string reason);

  void proceed();  // after every input: hands out what can be, and says the end where it is due
  void dispatch();
  bool ready(const Consumer& consumer) const;
  std::uint64_t byte_room(const Consumer& consumer) const;
  void assign(Consumer& consumer, std::uint64_t share);
  const Flight* start_flight(Consumer& consumer);
  void say_ends();
  void release(const RecordBatch& record);
  void check_invariants() const;

  RecordProducerOptions options_;
  PendingRecords pending_;
  std::map<ConsumerNumber, Consumer> consumers_;
  std::map<RecordId, std::size_t> held_;  // rejected records that the owner has to judge, and their bytes
  std::size_t held_bytes_ = 0;
  std::deque<RecordProducerEvent> events_;
  RecordId last_accepted_ = 0;
  std::uint64_t accepted_ = 0, acknowledged_ = 0, buried_ = 0;
  std::uint64_t turns_ = 0;
  bool source_ended_ = false;
  bool cancelled_ = false;
};

}  // namespace sluice::link
