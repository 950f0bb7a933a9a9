#pragma once
// The records that one worker has in hand: given to it, and not settled yet, which it may do in any order.
// Invariants: `count` is the number of records that are not settled; those of different batches have different ids.
// Threading: a value.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "link/record_batch.h"

namespace sluice::flow {

class WorkerHand final {
 public:
  bool empty() const { return count_ == 0; }
  std::uint64_t count() const { return count_; }
  /// Of the batches that are not settled whole: their memory is held until then.
  std::size_t bytes() const { return bytes_; }

  /// Requires: not empty, and of other ids than what it has.
  void add(link::RecordBatch batch);
  bool has(link::RecordId id) const;
  /// False, and nothing changes: it has not all of these.
  bool settle(link::RecordId first, std::uint32_t count);
  /// Takes one out. Nothing: it has it not.
  std::optional<link::RecordBatch> take(link::RecordId id);
  /// Takes all out, in the order of their ids.
  std::vector<link::RecordBatch> take_all();

 private:
  struct Given {
    link::RecordBatch batch;
    std::vector<bool> settled;
    std::uint32_t left = 0;
  };
  using Batches = std::map<link::RecordId, Given>;

  Batches::iterator holding(link::RecordId id);
  Batches::const_iterator holding(link::RecordId id) const;
  bool has_all(link::RecordId first, std::uint32_t count) const;
  void put_back(link::RecordBatch batch, std::vector<bool>::const_iterator settled);

  Batches batches_;  // by their first id
  std::uint64_t count_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace sluice::flow
