#pragma once
// Puts records back into the order of their ids (`@ordered`): they come in any order, and leave when all before them
// have left or are known never to come.
// Invariants: ids leave in ascending order, each once.
// Threading: a value.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "base/require.h"
#include "link/record_batch.h"

namespace sluice::link {

class RecordOrder final {
 public:
  /// The id that leaves next.
  RecordId next() const { return next_; }
  /// Of what is held back.
  std::size_t bytes() const { return bytes_; }
  bool empty() const { return held_.empty(); }

  /// `batch` stands for the ids from `first` on, one for each of its records.
  void put(RecordId first, RecordBatch batch) {
    REQUIRE(first >= next_ && !batch.empty());
    bytes_ += batch.size();
    held_.emplace(first, Held{.count = batch.count(), .batch = std::move(batch)});
  }
  /// These never come.
  void skip(RecordId first, std::uint32_t count) {
    REQUIRE(first >= next_ && count > 0);
    held_.emplace(first, Held{.count = count, .batch = {}});
  }
  /// What may leave now.
  std::optional<RecordBatch> poll() {
    while (!held_.empty() && held_.begin()->first == next_) {
      Held held = std::move(held_.begin()->second);
      held_.erase(held_.begin());
      next_ += held.count;
      bytes_ -= held.batch.size();
      if (!held.batch.empty()) return std::move(held.batch);
    }
    return std::nullopt;
  }

 private:
  struct Held {
    std::uint32_t count = 0;
    RecordBatch batch;  // empty: skipped
  };
  std::map<RecordId, Held> held_;
  RecordId next_ = 1;
  std::size_t bytes_ = 0;
};

}  // namespace sluice::link
