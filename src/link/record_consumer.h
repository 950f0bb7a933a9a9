#pragma once
// A consumer's end of a record link, to one producer: takes in what it has granted credit for, hands it to a program,
// and acknowledges what the program has settled.
//
// Credit is the room that is left: as many records and bytes as its windows have (adaptive_window.h) beyond what is
// settled. A record that the program could not do is sent back (`reject`), and stays unsettled until the producer has
// noted it. When its connection breaks it says on the next one what it expects, has settled and has sent back.
// Invariants: records received and not settled are within the credit that was granted, or one that is longer than all
// of it. What is acknowledged was settled by the program.
// Order for the shell: after every input ask poll_transmit() until it is empty; ask poll_delivery() when the program
// can take more. An acknowledgement may wait for others until poll_deadline().
// Threading: pure; no clock, no I/O.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/time.h"
#include "link/adaptive_window.h"
#include "link/delivery_set.h"
#include "link/record_frames.h"

namespace sluice::link {

struct RecordConsumerOptions {
  AdaptiveWindow::Options records{.size_min = 1, .size_start = 4, .size_max = std::uint64_t{1} << 20};
  AdaptiveWindow::Options bytes{.size_min = std::uint64_t{16} << 10,
                                .size_start = std::uint64_t{64} << 10,
                                .size_max = std::uint64_t{8} << 20,
                                .size_free = std::uint64_t{256} << 10};
  std::size_t record_max = std::size_t{64} << 20;  // bytes; a longer record breaks the link
  /// How long an acknowledgement may wait for others to go with it.
  Duration ack_delay_max = std::chrono::milliseconds(10);
  std::shared_ptr<RecordBlocks> blocks;  // where batches are put, if it matters
  std::size_t rejections_max = 1024;     // that the producer has not noted; above, the program gets nothing
};

class RecordConsumer final {
 public:
  explicit RecordConsumer(const RecordConsumerOptions& options = {});

  // --- the connection ---
  void on_connected();
  void on_disconnected();
  /// Errors: a sentence; the producer broke the protocol, and the connection is to be closed after what poll_transmit
  /// still gives.
  std::expected<void, std::string> on_bytes(std::span<const std::byte> bytes, TimePoint now);
  /// Where the next bytes belong: reading them there saves a copy (RecordFrameReader); then on_bytes with what is
  /// behind.
  std::span<std::byte> vacant() { return decoder_.vacant(); }
  void commit(std::size_t size) { decoder_.commit(size); }
  /// The next frame for the producer.
  std::optional<std::string> poll_transmit(TimePoint now);
  std::optional<TimePoint> poll_deadline() const;

  // --- the program ---
  struct Limits {
    std::uint32_t records = ~std::uint32_t{0};
    std::size_t bytes = ~std::size_t{0};  // one record may be longer
  };
  /// What comes next, in the order of deliveries. Nothing: it has to wait.
  std::optional<RecordDelivery> poll_delivery(const Limits& limits, TimePoint now);
  /// The program is done with these for good. Requires: they were handed out, and not rejected.
  void settle(DeliveryRange range, TimePoint now);
  /// The program could not do it. Requires: handed out, not settled, not rejected before.
  void reject(DeliveryNumber delivery, NackCause cause, std::string reason);
  void pause() { paused_ = true; }
  void resume() { paused_ = false; }
  /// It wants to leave: the end comes when what it has is settled.
  void drain() { draining_ = true; }
  void cancel(std::string reason);

  /// The producer said the end: everything was settled.
  bool ended() const { return ended_; }
  /// ... and it has been confirmed.
  bool finished() const { return ended_ && said_.done; }
  /// The producer cancelled the link; why.
  const std::optional<std::string>& cancelled() const { return cancelled_; }

  std::uint64_t received() const { return received_; }
  std::uint64_t settled() const { return settled_.size(); }
  std::uint64_t settled_bytes() const { return settled_bytes_; }
  std::uint64_t unsettled() const { return received_ - settled_.size(); }
  std::uint64_t unsettled_bytes() const { return received_bytes_ - settled_bytes_; }
  /// Sent back, and not noted by the producer: counted as unsettled, though it holds their bytes no more.
  std::size_t rejections() const { return rejected_.size(); }
  /// Received, and not handed out yet.
  std::uint64_t waiting() const { return received_ - handed_up_to_; }
  RecordCredit window() const { return {.deliveries = record_window_.size(), .bytes = byte_window_.size()}; }

 private:
  using Checked = std::expected<void, std::string>;
  struct Waiting {
    RecordDelivery delivery;
    TimePoint received;
  };
  /// Handed out at one time: its bytes are free when all of it is settled.
  struct Handed {
    DeliveryNumber first = 0, last = 0;
    std::uint64_t left = 0;
    std::size_t bytes = 0;
  };
  struct Rejection {
    RecordNack nack;
    bool said = false;
  };
  /// On this connection.
  struct Said {
    bool attach = false, drain = false, done = false, paused = false, cancel = false;
    RecordCredit credit;
    std::uint64_t settled = 0;
    std::uint64_t settled_bytes = 0;
  };

  Checked on(RecordDelivery delivery, TimePoint now);
  Checked on(const RecordNoted& noted, TimePoint now);
  Checked on(const RecordEnd& end, TimePoint now);
  Checked on(const RecordCancel& cancel, TimePoint now);
  Checked check_credit(const RecordDelivery& delivery) const;
  void free_room(DeliveryRange part);
  bool ack_due(TimePoint now) const;
  std::string say_settled();
  std::optional<std::string> poll_rejection();
  std::optional<std::string> poll_credit();

  RecordConsumerOptions options_;
  AdaptiveWindow record_window_, byte_window_;
  ProducerFrameDecoder decoder_;
  bool connected_ = false;
  Said said_;
  RecordCredit granted_;  // ever
  DeliveryNumber received_ = 0;
  std::uint64_t received_bytes_ = 0;
  std::deque<Waiting> waiting_;
  DeliveryNumber handed_up_to_ = 0;
  std::deque<Handed> handed_;  // not wholly settled, in order; those behind the first may be
  DeliverySet settled_;
  std::uint64_t settled_bytes_ = 0;
  std::map<DeliveryNumber, Rejection> rejected_;  // not noted yet
  std::optional<TimePoint> unsaid_since_;         // the oldest settled delivery that was not acknowledged
  std::optional<TimePoint> idle_since_;
  bool paused_ = false, draining_ = false, ended_ = false;
  std::optional<std::string> cancel_reason_;  // ours
  std::optional<std::string> cancelled_;      // the producer's
};

}  // namespace sluice::link
