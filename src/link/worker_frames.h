#pragma once
// What a stage and one of its workers say to each other (docs/protocol-workers.md has it byte by byte).
//
// A frame is a header of 8 bytes, which is the length of its body (4), its kind (1) and three zeros, and the body. All
// numbers are unsigned and in network byte order. Records travel in batches, behind a table of their sizes.
// Threading: values and pure functions.
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "link/record_batch.h"

namespace sluice::link {

inline constexpr std::string_view kWorkerMagic = "SLWK";
inline constexpr std::uint16_t kWorkerMajor = 1, kWorkerMinor = 0;
inline constexpr std::size_t kWorkerHeaderSize = 8;
/// Of a body with several records. One record alone may be as long as the stage takes.
inline constexpr std::size_t kWorkerBatchMax = std::size_t{1} << 20;
/// Of any other body.
inline constexpr std::size_t kWorkerBodyMax = std::size_t{64} << 10;
/// Of a text in it.
inline constexpr std::size_t kWorkerTextMax = 4096;

enum class WorkerFrameKind : std::uint8_t {
  hello = 1,
  credit = 2,
  outputs = 3,
  done = 4,
  fail = 5,
  leave = 6,
  finished = 7,
  refuse = 8,  // either way
  welcome = 16,
  records = 17,
  end = 18,
  cancel = 19,
};

// --- from a worker ------------------------------------------------------------------------------------------------

struct WorkerHello {
  std::uint16_t major = kWorkerMajor, minor = kWorkerMinor;
  bool source = false;            // it takes no records
  std::uint32_t concurrency = 0;  // that it wishes for itself; 0: no wish
  std::string role;               // may be empty
  std::string library;            // for people
};

/// What may be in its hands, absolute.
struct WorkerCredit {
  std::uint32_t concurrency = 0;  // that it works on at a time
  std::uint32_t records = 0;      // 0: it is given none
  std::uint64_t bytes = 0;
};

struct WorkerRange {
  RecordId first = 0;
  std::uint32_t count = 0;
  bool operator==(const WorkerRange&) const = default;
};

struct WorkerFailure {
  RecordId record = 0;
  std::string reason;
};

/// Records that were written, each for an input; 0: for none.
class WorkerOutputs final {
 public:
  WorkerOutputs(std::string_view table, std::string_view bytes) : table_(table), bytes_(bytes) {}

  std::size_t count() const { return table_.size() / kEntrySize; }
  template <class Visit>
  void for_each(Visit&& visit) const {
    std::string_view rest = bytes_;
    for (std::size_t at = 0; at < table_.size(); at += kEntrySize) {
      std::size_t size = record_size_at(table_.substr(at + 8), 0);
      visit(id_at(at), rest.substr(0, size));
      rest.remove_prefix(size);
    }
  }

  static constexpr std::size_t kEntrySize = 12;  // an id and a size

 private:
  RecordId id_at(std::size_t at) const {
    return RecordId{record_size_at(table_.substr(at), 0)} << 32 | record_size_at(table_.substr(at + 4), 0);
  }

  std::string_view table_;
  std::string_view bytes_;
};

/// Errors: a sentence that says what is wrong with the body.
std::expected<WorkerHello, std::string> decode_worker_hello(std::string_view body);
std::expected<WorkerCredit, std::string> decode_worker_credit(std::string_view body);
std::expected<WorkerOutputs, std::string> decode_worker_outputs(std::string_view body, std::size_t record_max);
std::expected<std::vector<WorkerRange>, std::string> decode_worker_done(std::string_view body);
std::expected<WorkerFailure, std::string> decode_worker_failure(std::string_view body);

// --- to a worker --------------------------------------------------------------------------------------------------

struct WorkerWelcome {
  std::uint16_t major = kWorkerMajor, minor = kWorkerMinor;
  std::uint32_t concurrency = 0;  // that the flow says; 0: what the worker wishes
  std::uint32_t worker = 0;       // its number, from 1
  std::uint64_t record_max = 0;   // bytes
  std::string flow, stage;        // names; may be empty
};

void append_worker_welcome(std::string& stream, const WorkerWelcome& welcome);
/// Without the delimiters of the records. Requires: at most kWorkerBatchMax with the table, unless it is one record.
void append_worker_records(std::string& stream, const RecordBatch& batch, std::uint32_t attempt);
/// `end`, `cancel`, `leave` and `finished` have no body.
void append_worker_frame(std::string& stream, WorkerFrameKind kind, std::string_view body = {});
void append_worker_refusal(std::string& stream, std::string_view why);

// --- reading ------------------------------------------------------------------------------------------------------

struct WorkerFrame {
  WorkerFrameKind kind = WorkerFrameKind::hello;
  std::string_view body;  // until room() is asked for again
};

/// Cuts what a worker sends into frames.
class WorkerFrameReader final {
 public:
  explicit WorkerFrameReader(std::size_t record_max) : record_max_(record_max) {}

  /// Where the next bytes are to be put; never empty.
  std::span<std::byte> room();
  /// `size` of them were put there.
  void on_bytes(std::size_t size) { end_ += size; }
  /// The next frame; nothing if more bytes are needed. Errors: a sentence; no worker of the protocol sends this.
  std::expected<std::optional<WorkerFrame>, std::string> next();
  /// Forgets what was put and not cut yet.
  void drop() { begin_ = end_ = 0; }
  /// The stream may end here.
  bool between_frames() const { return begin_ == end_; }

 private:
  std::size_t record_max_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;  // of what was not cut yet
  std::size_t end_ = 0;
};

}  // namespace sluice::link
