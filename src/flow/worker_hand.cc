#include "flow/worker_hand.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/require.h"

namespace sluice::flow {

using link::RecordBatch;
using link::RecordId;

void WorkerHand::add_to(LinkNumber link, const Amount& amount) {
  if (link >= of_link_.size()) of_link_.resize(link + 1);
  of_link_[link].count += amount.count;
  of_link_[link].bytes += amount.bytes;
  count_ += amount.count;
  bytes_ += amount.bytes;
}

void WorkerHand::take_from(LinkNumber link, const Amount& amount) {
  of_link_[link].count -= amount.count;
  of_link_[link].bytes -= amount.bytes;
  count_ -= amount.count;
  bytes_ -= amount.bytes;
}

void WorkerHand::add(RecordBatch batch, LinkNumber link) {
  REQUIRE(!batch.empty());
  add_to(link, {.count = batch.count(), .bytes = batch.size()});
  std::uint32_t count = batch.count();
  RecordId first = batch.first();
  bool added = batches_.emplace(first, Given{std::move(batch), link, std::vector<bool>(count), count}).second;
  REQUIRE(added);
}

WorkerHand::Batches::const_iterator WorkerHand::holding(RecordId id) const {
  auto behind = batches_.upper_bound(id);
  if (behind == batches_.begin()) return batches_.end();
  auto found = std::prev(behind);
  return id <= found->second.batch.last() ? found : batches_.end();
}

WorkerHand::Batches::iterator WorkerHand::holding(RecordId id) {
  auto found = std::as_const(*this).holding(id);
  return batches_.erase(found, found);  // makes it mutable
}

bool WorkerHand::has(RecordId id) const {
  auto found = holding(id);
  return found != batches_.end() && !found->second.settled[id - found->first];
}

bool WorkerHand::has_all(RecordId first, std::uint32_t count) const {
  while (count > 0) {
    auto found = holding(first);
    if (found == batches_.end()) return false;
    const Given& given = found->second;
    auto from = static_cast<std::ptrdiff_t>(first - found->first);
    auto part = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, given.batch.last() - first + 1));
    // Those of a batch that nothing was settled of need not be looked at one by one.
    auto begin = given.settled.begin() + from;
    if (given.left < given.batch.count() && std::find(begin, begin + part, true) != begin + part) return false;
    first += part;
    count -= part;
  }
  return true;
}

bool WorkerHand::settle(RecordId first, std::uint32_t count) {
  if (first + count < first || !has_all(first, count)) return false;
  while (count > 0) {
    auto found = holding(first);
    Given& given = found->second;
    auto from = static_cast<std::ptrdiff_t>(first - found->first);
    auto part = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, given.batch.last() - first + 1));
    given.left -= part;
    take_from(given.link, {.count = part, .bytes = given.left == 0 ? given.batch.size() : 0});
    if (given.left == 0) {
      batches_.erase(found);
    } else {
      std::fill_n(given.settled.begin() + from, part, true);
    }
    first += part;
    count -= part;
  }
  return true;
}

// What was before it and behind it become batches of their own: it may come back into the same hand.
std::optional<LinkedBatch> WorkerHand::take(RecordId id) {
  if (!has(id)) return std::nullopt;
  auto found = holding(id);
  RecordId first = found->first;
  Given whole = std::move(found->second);
  batches_.erase(found);
  take_from(whole.link, {.count = whole.left, .bytes = whole.batch.size()});
  auto at = static_cast<std::ptrdiff_t>(id - first);
  RecordBatch rest = std::move(whole.batch);
  if (at > 0) put_back({rest.take_front(static_cast<std::uint32_t>(at)), whole.link}, whole.settled.begin());
  RecordBatch record = rest.take_front(1);
  if (!rest.empty()) put_back({std::move(rest), whole.link}, whole.settled.begin() + at + 1);
  return LinkedBatch{std::move(record), whole.link};
}

void WorkerHand::put_back(LinkedBatch part, std::vector<bool>::const_iterator settled) {
  auto& [batch, link] = part;
  std::vector<bool> bits(settled, settled + batch.count());
  auto left = static_cast<std::uint32_t>(std::ranges::count(bits, false));
  if (left == 0) return;
  add_to(link, {.count = left, .bytes = batch.size()});
  RecordId first = batch.first();
  batches_.emplace(first, Given{std::move(batch), link, std::move(bits), left});
}

std::vector<LinkedBatch> WorkerHand::take_all() {
  std::vector<LinkedBatch> taken;
  for (auto& [first, given] : batches_) {
    RecordBatch rest = std::move(given.batch);
    std::size_t at = 0;
    while (at < given.settled.size()) {
      bool settled = given.settled[at];
      std::size_t end = at;
      while (end < given.settled.size() && given.settled[end] == settled) ++end;
      RecordBatch run = rest.take_front(static_cast<std::uint32_t>(end - at));
      if (!settled) taken.push_back({std::move(run), given.link});
      at = end;
    }
  }
  batches_.clear();
  of_link_.clear();
  count_ = bytes_ = 0;
  return taken;
}

}  // namespace sluice::flow
