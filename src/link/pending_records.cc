#include "link/pending_records.h"

#include <algorithm>
#include <utility>

#include "base/require.h"

namespace sluice::link {

void PendingRecords::put(RecordBatch batch) {
  REQUIRE(!batch.empty());
  count_ += batch.count();
  bytes_ += batch.size();
  auto behind = std::ranges::upper_bound(batches_, batch.first(), {}, &RecordBatch::first);
  INVARIANT(behind == batches_.end() || batch.last() < behind->first());
  INVARIANT(behind == batches_.begin() || std::prev(behind)->last() < batch.first());
  batches_.insert(behind, std::move(batch));
}

RecordBatch PendingRecords::take(std::uint32_t count_max, std::size_t bytes_max) {
  REQUIRE(!batches_.empty());
  RecordBatch taken = batches_.front().take_about(count_max, bytes_max);
  if (batches_.front().empty()) batches_.pop_front();
  count_ -= taken.count();
  bytes_ -= taken.size();
  return taken;
}

}  // namespace sluice::link
