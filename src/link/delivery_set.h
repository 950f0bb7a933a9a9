#pragma once
// Which deliveries of an attachment are settled: all up to one number, and ranges above it.
// Invariants: the ranges are in order, do not touch each other, and start at least two above `up_to`.
// Threading: a value.
#include <cstdint>
#include <map>
#include <vector>

#include "link/record_frames.h"

namespace sluice::link {

class DeliverySet final {
 public:
  DeliveryNumber up_to() const { return up_to_; }
  /// The highest number in the set, 0 if it is empty.
  DeliveryNumber last() const { return above_.empty() ? up_to_ : above_.rbegin()->second; }
  bool contains(DeliveryNumber number) const;
  /// How many there are.
  std::uint64_t size() const { return size_; }

  /// Adds what is not there yet. Returns the parts that were new. Requires: first <= last, first > 0.
  std::vector<DeliveryRange> add(DeliveryRange range);
  /// The parts of `range` that are not in the set.
  std::vector<DeliveryRange> missing_in(DeliveryRange range) const;
  /// The ranges above up_to(), at most `max` of them.
  std::vector<DeliveryRange> above(std::size_t max) const;

 private:
  DeliveryNumber up_to_ = 0;
  std::map<DeliveryNumber, DeliveryNumber> above_;  // first to last
  std::uint64_t size_ = 0;
};

}  // namespace sluice::link
