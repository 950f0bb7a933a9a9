#pragma once
// What one worker has written for records that it has not settled yet. It goes on when they are done, whole, and is
// dropped when they failed or the worker was lost: so a record that runs again repeats nothing.
//
// Outputs lie where they were read, in a buffer of the caller's, until keep() copies those that are still here: in most
// batches a worker says right behind its outputs that their records are done, and then nothing is copied.
// Threading: a value.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "link/worker_frames.h"

namespace sluice::flow {

class UnsettledOutputs final {
 public:
  /// Of all that is held.
  std::size_t bytes() const { return bytes_; }
  bool empty() const { return fresh_.empty() && kept_.empty(); }

  /// `record` stays valid until keep().
  void put(link::RecordId id, std::string_view record) {
    fresh_.push_back({id, record});
    bytes_ += record.size();
  }
  /// Takes out what was written for the records of these ranges, which lie one behind the other, and calls
  /// `take(id, record)` for each, in the order in which it was written.
  template <class Take>
  void settle(std::span<const link::WorkerRange> ranges, Take&& take) {
    remove(
        kept_, [](const Kept& kept) { return std::string_view(kept.record); }, ranges, take);
    remove(
        fresh_, [](const Fresh& fresh) { return fresh.record; }, ranges, take);
  }
  void drop(link::RecordId id) {
    link::WorkerRange range{.first = id, .count = 1};
    settle(std::span(&range, 1), [](link::RecordId, std::string_view) {});
  }
  /// The buffer of what was put will be used again.
  void keep() {
    for (const Fresh& fresh : fresh_) kept_.push_back({fresh.id, std::string(fresh.record)});
    fresh_.clear();
  }
  void clear() {
    fresh_.clear();
    kept_.clear();
    bytes_ = 0;
  }

 private:
  struct Fresh {
    link::RecordId id = 0;
    std::string_view record;
  };
  struct Kept {
    link::RecordId id = 0;
    std::string record;
  };

  static bool within(link::RecordId id, std::span<const link::WorkerRange> ranges) {
    auto behind = std::ranges::upper_bound(ranges, id, {}, &link::WorkerRange::first);
    return behind != ranges.begin() && id - std::prev(behind)->first < std::prev(behind)->count;
  }

  template <class All, class Show, class Take>
  void remove(All& all, Show&& show, std::span<const link::WorkerRange> ranges, Take& take) {
    auto left = all.begin();
    for (auto each = all.begin(); each != all.end(); ++each) {
      if (within(each->id, ranges)) {
        bytes_ -= show(*each).size();
        take(each->id, show(*each));
        continue;
      }
      if (left != each) *left = std::move(*each);
      ++left;
    }
    all.erase(left, all.end());
  }

  std::vector<Fresh> fresh_;
  std::deque<Kept> kept_;
  std::size_t bytes_ = 0;
};

}  // namespace sluice::flow
