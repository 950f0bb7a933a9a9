#include "link/link_backlog.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// Besides its bytes: without it a window of one-byte records would be many times as large as it says.
constexpr std::size_t kBatchCost = 128;

std::size_t cost_of(const RecordBatch& batch) { return batch.size() + batch.size_table().size() + kBatchCost; }

/// Cuts off as many records as have at most `bytes_max` bytes together with their table. Maybe none.
RecordBatch take_within(RecordBatch& batch, std::size_t bytes_max) {
  std::size_t entry = batch.shape().layout == RecordLayout::sized ? kRecordSizeWidth : 0, size = 0;
  std::uint32_t count = 0;
  bool fits = true;
  for_each_record(batch, [&](RecordId, std::string_view record) {
    fits = fits && size + record.size() + entry <= bytes_max;
    if (!fits) return;
    size += record.size() + entry;
    ++count;
  });
  return count == 0 ? RecordBatch() : batch.take_front(count);
}

RecordBatch of_content(const RecordShape& shape, std::shared_ptr<const std::string> content) {
  auto batch = RecordBatch::of_wire(shape, *content, content);
  INVARIANT(batch.has_value());  // it is what a batch of ours was
  return *std::move(batch);
}

// In memory of its own: a part must not keep the whole buffer that it was cut from.
RecordBatch copy_of(const RecordBatch& batch) {
  auto content = std::make_shared<std::string>(batch.size_table());
  content->append(batch.bytes());
  return of_content(batch.shape(), std::move(content));
}

// What stands before a batch in a store, which nobody but us reads.
struct SpillHead {
  RecordShape shape;
  std::uint64_t content_size = 0;
};

}  // namespace

RecordAmount& RecordAmount::operator+=(const RecordAmount& more) {
  records += more.records;
  bytes += more.bytes;
  return *this;
}

RecordAmount& RecordAmount::operator-=(const RecordAmount& less) {
  records -= less.records;
  bytes -= less.bytes;
  return *this;
}

RecordAmount amount_of(const RecordBatch& batch) { return {.records = batch.count(), .bytes = batch.size()}; }

bool LinkBacklog::wants() const {
  switch (slow_) {
    case SlowRule::block:
      return memory_cost_ < window_;
    case SlowRule::drop:
      return true;
    case SlowRule::spill:
      break;
  }
  return overflow_.empty();
}

std::expected<RecordAmount, std::string> LinkBacklog::put(RecordBatch batch) {
  REQUIRE(wants());
  REQUIRE(!batch.empty());
  if (slow_ == SlowRule::drop) return put_or_drop(std::move(batch));
  if (slow_ == SlowRule::spill && (store_->size() > 0 || memory_cost_ >= window_)) {
    if (auto spilled = spill(std::move(batch)); !spilled) return std::unexpected(spilled.error());
    return RecordAmount();
  }
  keep(std::move(batch));
  return RecordAmount();
}

void LinkBacklog::keep(RecordBatch batch) {
  memory_cost_ += cost_of(batch);
  memory_.push_back(std::move(batch));
}

RecordAmount LinkBacklog::put_or_drop(RecordBatch batch) {
  if (dropping_ && memory_cost_ > window_ / 2) return amount_of(batch);
  dropping_ = false;
  std::size_t room = memory_cost_ < window_ ? window_ - memory_cost_ : 0;
  if (cost_of(batch) <= room) {
    keep(std::move(batch));
    return {};
  }
  dropping_ = true;
  RecordBatch fitting = take_within(batch, room > kBatchCost ? room - kBatchCost : 0);
  // A record that is longer than the window goes alone.
  if (fitting.empty() && memory_.empty()) fitting = batch.take_front(1);
  if (!fitting.empty()) keep(copy_of(fitting));
  return amount_of(batch);
}

std::expected<void, std::string> LinkBacklog::spill(RecordBatch batch) {
  INVARIANT(overflow_.empty());
  std::uint64_t room = store_->room();
  bool whole = cost_of(batch) + sizeof(SpillHead) <= room;
  RecordBatch fitting = whole ? std::exchange(batch, RecordBatch())
                              : take_within(batch, room > sizeof(SpillHead) ? room - sizeof(SpillHead) : 0);
  overflow_ = std::move(batch);
  if (fitting.empty()) return {};
  SpillHead head{.shape = fitting.shape(), .content_size = fitting.size_table().size() + fitting.size()};
  std::string text(sizeof head, '\0');
  std::memcpy(text.data(), &head, sizeof head);
  text.append(fitting.size_table()).append(fitting.bytes());
  auto appended = store_->append(text);
  spilled_most_ = std::max(spilled_most_, store_->size());
  return appended;
}

bool LinkBacklog::empty() const { return memory_.empty() && (!store_ || store_->size() == 0) && overflow_.empty(); }

std::expected<RecordBatch, std::string> LinkBacklog::take() {
  REQUIRE(!empty());
  if (!memory_.empty()) {
    RecordBatch batch = std::move(memory_.front());
    memory_.pop_front();
    memory_cost_ -= cost_of(batch);
    return batch;
  }
  if (store_->size() == 0) return std::exchange(overflow_, RecordBatch());
  auto batch = read_back();
  if (!batch || overflow_.empty()) return batch;
  if (auto spilled = spill(std::exchange(overflow_, RecordBatch())); !spilled) return std::unexpected(spilled.error());
  return batch;
}

std::expected<RecordBatch, std::string> LinkBacklog::read_back() {
  SpillHead head;
  char bytes[sizeof head];
  if (auto taken = store_->take(bytes); !taken) return std::unexpected(taken.error());
  std::memcpy(&head, bytes, sizeof head);
  auto content = std::make_shared<std::string>(head.content_size, '\0');
  if (auto taken = store_->take(*content); !taken) return std::unexpected(taken.error());
  return of_content(head.shape, std::move(content));
}

void LinkBacklog::clear() {
  memory_.clear();
  memory_cost_ = 0;
  overflow_ = RecordBatch();
  store_.reset();
}

}  // namespace sluice::link
