#pragma once
// The frames of a record link: what a producer and one of its consumers say to each other on one connection.
// docs/protocol-records.md gives the bytes.
//
// Deliveries are counted from 1 for each attachment of a consumer, over all of its connections; acknowledgements and
// credit speak of them, so that they mean the same after a connection was replaced. The consumer speaks first
// (RecordAttach). A batch's frame is at most 1 MiB long. A record that is longer has frames of its own, which the
// decoder puts together.
// Threading: pure values.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "link/record_batch.h"
#include "link/record_blocks.h"

namespace sluice::link {

/// How many records a consumer was given before and with this one, from 1.
using DeliveryNumber = std::uint64_t;

inline constexpr std::size_t kRecordHeaderSize = 4;
inline constexpr std::size_t kRecordFrameMax = std::size_t{1} << 20;
inline constexpr std::size_t kRecordReasonMax = 1024;
inline constexpr std::size_t kAckRangesMax = 1024;
/// The head of a batch's body, and of a long record's.
inline constexpr std::size_t kBatchHeadSize = 24;
inline constexpr std::size_t kLongHeadSize = 32;

enum class RecordFrameKind : std::uint8_t {
  batch = 1,
  long_record = 2,
  long_more = 3,
  end = 4,
  cancel = 5,
  attach = 6,
  credit = 7,
  ack = 8,
  nack = 9,
  pause = 10,
  resume = 11,
  drain = 12,
  done = 13,
  noted = 14
};

// --- the producer's ---

/// Which credit a delivery has used up, so that more could not follow at once: what a consumer's windows grow by.
struct Starved {
  bool of_records = false;
  bool of_bytes = false;
  bool operator==(const Starved&) const = default;
};
struct RecordDelivery {
  DeliveryNumber first = 0;  // of the first record
  Starved starved;
  RecordBatch batch;
};
/// It has taken back the record of a RecordNack.
struct RecordNoted {
  DeliveryNumber delivery = 0;
  bool operator==(const RecordNoted&) const = default;
};
/// Every record of the link is settled, and this consumer was given `deliveries` in all.
struct RecordEnd {
  DeliveryNumber deliveries = 0;
  bool operator==(const RecordEnd&) const = default;
};

// --- the consumer's ---

/// The first on each connection: which delivery it expects next, 1 at first.
struct RecordAttach {
  DeliveryNumber next = 1;
  bool operator==(const RecordAttach&) const = default;
};
/// Up to which delivery, and up to how many bytes of records since it attached, the producer may go. Never less than
/// before.
struct RecordCredit {
  DeliveryNumber deliveries = 0;
  std::uint64_t bytes = 0;
  bool operator==(const RecordCredit&) const = default;
};
struct DeliveryRange {
  DeliveryNumber first = 0, last = 0;
  bool operator==(const DeliveryRange&) const = default;
};
/// Settled for good: all up to `up_to`, and the ranges, which lie above it, in order and apart.
struct RecordAck {
  DeliveryNumber up_to = 0;
  std::vector<DeliveryRange> ranges;
  bool operator==(const RecordAck&) const = default;
};
enum class NackCause : std::uint8_t {
  failed = 1,   // its program ended with a status, or said so
  lost = 2,     // its program was lost or ended by a signal
  refused = 3,  // trying again is of no use: it can't be read, or is too long
};
/// The record is to be given to another, or given up. It stays unsettled until RecordNoted; after a connection was
/// replaced the consumer says it again.
struct RecordNack {
  DeliveryNumber delivery = 0;
  NackCause cause = NackCause::failed;
  std::string reason;  // for people
  bool operator==(const RecordNack&) const = default;
};
/// Nothing more is to be sent until RecordResume, whatever credit is left.
struct RecordPause {
  bool operator==(const RecordPause&) const = default;
};
struct RecordResume {
  bool operator==(const RecordResume&) const = default;
};
/// It wants to leave: it gets nothing new, and the end as soon as what it has is settled.
struct RecordDrain {
  bool operator==(const RecordDrain&) const = default;
};
/// It has the end.
struct RecordDone {
  DeliveryNumber deliveries = 0;
  bool operator==(const RecordDone&) const = default;
};

// --- either's ---

struct RecordCancel {
  std::string reason;  // for people
  bool operator==(const RecordCancel&) const = default;
};

using ProducerFrame = std::variant<RecordDelivery, RecordNoted, RecordEnd, RecordCancel>;
using ConsumerFrame = std::variant<RecordAttach, RecordCredit, RecordAck, RecordNack, RecordPause, RecordResume,
                                   RecordDrain, RecordDone, RecordCancel>;

/// A delivery as it goes to the wire: heads of ours, and between them bytes of the batch, which are not copied. A batch
/// of one record that is too long for a frame gives several pieces.
struct DeliveryPiece {
  std::string head;
  std::string_view table;  // in the delivery's batch, as are the bytes
  std::string_view bytes;
};
/// Requires: fits a frame (fits_frame), or is one record.
std::vector<DeliveryPiece> encode_pieces(const RecordDelivery& delivery);
bool fits_frame(const RecordBatch& batch);
std::string encode(const RecordNoted& noted);
std::string encode(const RecordEnd& end);
/// A reason that is too long is cut.
std::string encode(const RecordCancel& cancel);
std::string encode(const RecordAttach& attach);
std::string encode(const RecordCredit& credit);
/// Requires: at most kAckRangesMax ranges.
std::string encode(const RecordAck& ack);
std::string encode(const RecordNack& nack);
std::string encode(const RecordPause& pause);
std::string encode(const RecordResume& resume);
std::string encode(const RecordDrain& drain);
std::string encode(const RecordDone& done);
std::string encode(const ConsumerFrame& frame);

/// Cuts one side's bytes into frames. It keeps one frame, which is at most 1 MiB long.
class RecordFrameReader final {
 public:
  enum class Sender : std::uint8_t { producer, consumer, either };
  /// `sender`: whose frames these are. The other side's are refused at their header, since they may be longer.
  explicit RecordFrameReader(Sender sender, std::shared_ptr<RecordBlocks> blocks = nullptr)
      : sender_(sender), blocks_(std::move(blocks)) {}

  struct Frame {
    RecordFrameKind kind{};
    std::string_view body;              // inside `owner`
    std::shared_ptr<const void> owner;  // none: the view is good until the next call
  };
  /// Takes bytes from the front of `bytes` until a frame is complete. Nothing: all were taken, and more are needed.
  /// Errors: a sentence; the other side's kind, or a length beyond what the kind may have. Every later call fails too.
  std::expected<std::optional<Frame>, std::string> next(std::span<const std::byte>& bytes);

  /// Where the next bytes of a long frame belong: who reads them right there saves a copy. Empty between frames.
  std::span<std::byte> vacant();
  /// That many were put there. Requires: room for them.
  void commit(std::size_t size);
  /// What is in a frame breaks a rule: no later one is believed.
  void fail(std::string sentence) { failure_ = std::move(sentence); }

 private:
  std::expected<void, std::string> read_header();

  Sender sender_;
  std::shared_ptr<RecordBlocks> blocks_;  // for long frames
  std::string failure_;
  std::string header_;
  RecordFrameKind kind_{};
  std::size_t body_size_ = 0;
  std::size_t body_have_ = 0;
  std::shared_ptr<char[]> body_;
  bool in_body_ = false;
};

/// Reads the frames of a producer.
class ProducerFrameDecoder final {
 public:
  /// `record_max`: the longest record that is taken, in bytes. `blocks`: where batches are put, if it matters.
  explicit ProducerFrameDecoder(std::size_t record_max, std::shared_ptr<RecordBlocks> blocks = nullptr)
      : reader_(RecordFrameReader::Sender::producer, std::move(blocks)), record_max_(record_max) {}

  /// As RecordFrameReader::next. Errors also: no frame of a producer, or one that breaks the rules of its kind.
  std::expected<std::optional<ProducerFrame>, std::string> next(std::span<const std::byte>& bytes);
  std::span<std::byte> vacant() { return reader_.vacant(); }
  void commit(std::size_t size) { reader_.commit(size); }

 private:
  struct LongRecord {
    DeliveryNumber delivery = 0;
    Starved starved;
    RecordShape shape;
    std::size_t size = 0;
    std::string content = {};  // with its table of one size, if it is sized
  };

  std::expected<std::optional<ProducerFrame>, std::string> decode(const RecordFrameReader::Frame& frame);
  std::expected<std::optional<ProducerFrame>, std::string> decode_batch(const RecordFrameReader::Frame& frame) const;
  std::expected<std::optional<ProducerFrame>, std::string> begin_long(std::string_view body);
  std::expected<std::optional<ProducerFrame>, std::string> go_on_long(std::string_view bytes);
  std::string too_long() const;

  RecordFrameReader reader_;
  std::size_t record_max_;
  std::optional<LongRecord> long_;
};

/// Reads the frames of a consumer.
class ConsumerFrameDecoder final {
 public:
  /// As RecordFrameReader::next. Errors also: no frame of a consumer, or one that breaks the rules of its kind.
  std::expected<std::optional<ConsumerFrame>, std::string> next(std::span<const std::byte>& bytes);

 private:
  RecordFrameReader reader_{RecordFrameReader::Sender::consumer};
};

}  // namespace sluice::link
