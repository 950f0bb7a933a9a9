#pragma once
// What waits on one link of a junction, and what becomes of more when its reader falls behind.
//
//   block  the backlog wants no more than a window; whoever feeds it waits
//   drop   what does not fit into the window is dropped and counted. It goes on dropping until half of the window is
//          free again, so that gaps are few, and what is kept pins few buffers
//   spill  what does not fit waits in a store, in order; when that is full, as block
//
// Invariants: put = taken + dropped + waiting. Memory is at most the window, and one batch.
// Threading: pure but for the store.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <expected>
#include <memory>
#include <string>

#include "link/record_batch.h"
#include "link/spill_store.h"

namespace sluice::link {

enum class SlowRule : std::uint8_t { block, drop, spill };

/// Records, and the bytes of their content, as `RecordBatch::size` has them.
struct RecordAmount {
  std::uint64_t records = 0;
  std::uint64_t bytes = 0;

  RecordAmount& operator+=(const RecordAmount& more);
  RecordAmount& operator-=(const RecordAmount& less);
  bool operator==(const RecordAmount&) const = default;
};
RecordAmount amount_of(const RecordBatch& batch);

class LinkBacklog final {
 public:
  /// What `window_bytes` is by default: four times what a pipe holds, so that a reader which works in bursts is fed.
  static constexpr std::size_t kWindowBytes = std::size_t{256} << 10;
  /// Of one that drops: several blocks of what is read at once, or a reader that keeps up would lose some of each.
  static constexpr std::size_t kDropWindowBytes = std::size_t{2} << 20;

  explicit LinkBacklog(SlowRule slow, std::size_t window_bytes = kWindowBytes) : slow_(slow), window_(window_bytes) {}
  /// One that spills.
  explicit LinkBacklog(std::unique_ptr<SpillStore> store, std::size_t window_bytes = kWindowBytes)
      : slow_(SlowRule::spill), window_(window_bytes), store_(std::move(store)) {}

  /// Whether a batch may be put; one that drops always takes one.
  bool wants() const;
  /// Requires: wants(), not empty. Returns what of it was dropped. Errors: the store's.
  std::expected<RecordAmount, std::string> put(RecordBatch batch);

  bool empty() const;
  /// The oldest, of one batch. Requires: not empty. Errors: the store's.
  std::expected<RecordBatch, std::string> take();
  void clear();

  /// How much of the store was in use at most, in bytes.
  std::uint64_t spilled_most() const { return spilled_most_; }

 private:
  void keep(RecordBatch batch);
  RecordAmount put_or_drop(RecordBatch batch);
  std::expected<void, std::string> spill(RecordBatch batch);
  std::expected<RecordBatch, std::string> read_back();

  SlowRule slow_;
  std::size_t window_;
  std::deque<RecordBatch> memory_;
  std::size_t memory_cost_ = 0;
  bool dropping_ = false;
  std::unique_ptr<SpillStore> store_;  // what is in it is behind `memory_`
  RecordBatch overflow_;               // and behind that, what did not fit into it
  std::uint64_t spilled_most_ = 0;
};

}  // namespace sluice::link
