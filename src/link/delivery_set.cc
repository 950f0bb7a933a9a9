#include "link/delivery_set.h"

#include <algorithm>

#include "base/require.h"

namespace sluice::link {

bool DeliverySet::contains(DeliveryNumber number) const {
  if (number <= up_to_) return number > 0;
  auto next = above_.upper_bound(number);
  return next != above_.begin() && std::prev(next)->second >= number;
}

std::vector<DeliveryRange> DeliverySet::missing_in(DeliveryRange range) const {
  std::vector<DeliveryRange> missing;
  DeliveryNumber at = std::max(range.first, up_to_ + 1);
  auto next = above_.upper_bound(at);
  if (next != above_.begin()) at = std::max(at, std::prev(next)->second + 1);
  for (; at <= range.last; ++next) {
    DeliveryNumber until = next == above_.end() ? range.last : std::min(range.last, next->first - 1);
    if (at <= until) missing.push_back({.first = at, .last = until});
    if (next == above_.end()) break;
    at = next->second + 1;
  }
  return missing;
}

std::vector<DeliveryRange> DeliverySet::add(DeliveryRange range) {
  REQUIRE(range.first > 0);
  REQUIRE(range.first <= range.last);
  std::vector<DeliveryRange> added = missing_in(range);
  if (added.empty()) return added;
  for (const DeliveryRange& part : added) size_ += part.last - part.first + 1;
  DeliveryNumber first = range.first, last = range.last;
  // What overlaps or touches it becomes one with it.
  auto from = above_.upper_bound(first);
  if (from != above_.begin() && std::prev(from)->second + 1 >= first) --from;
  auto until = from;
  for (; until != above_.end() && until->first <= last + 1; ++until) {
    first = std::min(first, until->first);
    last = std::max(last, until->second);
  }
  above_.erase(from, until);
  if (first <= up_to_ + 1) {
    up_to_ = std::max(up_to_, last);
  } else {
    above_.emplace(first, last);
  }
  return added;
}

std::vector<DeliveryRange> DeliverySet::above(std::size_t max) const {
  std::vector<DeliveryRange> ranges;
  for (const auto& [first, last] : above_) {
    if (ranges.size() == max) break;
    ranges.push_back({.first = first, .last = last});
  }
  return ranges;
}

}  // namespace sluice::link
