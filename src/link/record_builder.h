#pragma once
// Gathers single records into batches, for a source that makes them one at a time.
//
// A record is copied once, into the buffer that its batch is sent from; those of a short batch once more.
// Threading: a value.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "link/record_batch.h"
#include "link/record_blocks.h"

namespace sluice::link {

class RecordBuilder final {
 public:
  struct Options {
    std::size_t bytes_max = std::size_t{128} << 10;  // of one batch; one record may be longer
    std::uint32_t records_max = 8192;                // of one batch: its table is a quarter of it then
  };
  RecordBuilder() : RecordBuilder(Options()) {}
  /// `blocks`: where batches are put, if it matters.
  explicit RecordBuilder(const Options& options, std::shared_ptr<RecordBlocks> blocks = nullptr)
      : options_(options), blocks_(std::move(blocks)) {}

  bool empty() const { return count_ == 0; }
  /// A record of that size belongs into the next batch.
  bool is_full_for(std::size_t size) const {
    return count_ == options_.records_max || (count_ > 0 && size_ + size > options_.bytes_max);
  }
  /// Requires: not full for it, and shorter than 4 GiB.
  void add(std::string_view record);
  /// What was added, as a batch; the first record has that id. Empty if nothing was.
  RecordBatch take(RecordId first);

 private:
  std::size_t table_room() const { return options_.records_max * kRecordSizeWidth; }
  void begin(std::size_t record_size);

  Options options_;
  std::shared_ptr<RecordBlocks> blocks_;
  std::shared_ptr<char[]> buffer_;  // with a long batch that is taken: room for a table, then the records
  std::size_t capacity_ = 0;
  std::uint32_t count_ = 0;
  std::size_t size_ = 0;
};

}  // namespace sluice::link
