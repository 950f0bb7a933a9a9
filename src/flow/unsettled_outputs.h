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
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "link/worker_frames.h"

namespace sluice::flow {

class UnsettledOutputs final {
 public:
  /// Of all that is held, and of what holding it takes.
  std::size_t bytes() const { return bytes_; }
  bool empty() const { return fresh_.empty() && kept_.empty(); }

  /// `record` stays valid until keep().
  void put(link::RecordId id, std::string_view record) {
    fresh_.push_back({id, record});
    bytes_ += size_of(record);
  }
  /// Takes out what was written for the records of these ranges, which lie one behind the other, and calls
  /// `take(id, record)` for each: for one record in the order in which it was written.
  template <class Take>
  void settle(std::span<const link::WorkerRange> ranges, Take&& take) {
    if (!kept_.empty())
      for (const link::WorkerRange& range : ranges) settle_kept(range, take);
    settle_fresh(ranges, take);
  }
  void drop(link::RecordId id) {
    link::WorkerRange range{.first = id, .count = 1};
    settle(std::span(&range, 1), [](link::RecordId, std::string_view) {});
  }
  /// The buffer of what was put will be used again.
  void keep() {
    for (const Fresh& fresh : fresh_) kept_[fresh.id].emplace_back(fresh.record);
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
  // Empty ones are kept, too.
  static std::size_t size_of(std::string_view record) { return record.size() + sizeof(std::string); }

  static bool within(link::RecordId id, std::span<const link::WorkerRange> ranges) {
    auto behind = std::ranges::upper_bound(ranges, id, {}, &link::WorkerRange::first);
    return behind != ranges.begin() && id - std::prev(behind)->first < std::prev(behind)->count;
  }

  template <class Take>
  void settle_kept(const link::WorkerRange& range, Take& take) {
    auto first = kept_.lower_bound(range.first), each = first;
    for (; each != kept_.end() && each->first - range.first < range.count; ++each)
      for (const std::string& record : each->second) {
        bytes_ -= size_of(record);
        take(each->first, std::string_view(record));
      }
    kept_.erase(first, each);
  }

  template <class Take>
  void settle_fresh(std::span<const link::WorkerRange> ranges, Take& take) {
    auto left = fresh_.begin();
    for (const Fresh& fresh : fresh_) {
      if (within(fresh.id, ranges)) {
        bytes_ -= size_of(fresh.record);
        take(fresh.id, fresh.record);
      } else {
        *left++ = fresh;
      }
    }
    fresh_.erase(left, fresh_.end());
  }

  std::vector<Fresh> fresh_;
  std::map<link::RecordId, std::vector<std::string>> kept_;
  std::size_t bytes_ = 0;
};

}  // namespace sluice::flow
