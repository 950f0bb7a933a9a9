#pragma once
// Records that wait for a consumer, in the order of their ids: those that were given back go before newer ones.
// Threading: a value.
#include <cstddef>
#include <cstdint>
#include <deque>

#include "link/record_batch.h"

namespace sluice::link {

class PendingRecords final {
 public:
  bool empty() const { return batches_.empty(); }
  std::uint64_t count() const { return count_; }
  std::size_t bytes() const { return bytes_; }
  /// The lowest id. Requires: not empty.
  RecordId first() const { return batches_.front().first(); }
  /// Of the first record. Requires: not empty.
  std::size_t front_size() const { return batches_.front().front().size(); }

  /// Requires: not empty, and apart from all that wait already.
  void put(RecordBatch batch);
  /// The first records, of one batch, as RecordBatch::take_about. Requires: not empty.
  RecordBatch take(std::uint32_t count_max, std::size_t bytes_max);

 private:
  std::deque<RecordBatch> batches_;
  std::uint64_t count_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace sluice::link
