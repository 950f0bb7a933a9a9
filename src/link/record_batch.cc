#include "link/record_batch.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/require.h"

namespace sluice::link {
namespace {

void append_size(std::string& table, std::uint32_t size) {
  for (int shift = 24; shift >= 0; shift -= 8) table.push_back(static_cast<char>(size >> shift));
}

std::uint64_t sum_of(std::string_view table) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < table.size() / kRecordSizeWidth; ++i) sum += record_size_at(table, i);
  return sum;
}

std::uint64_t occurrences(std::string_view bytes, char delimiter) {
  return static_cast<std::uint64_t>(std::ranges::count(bytes, delimiter));  // the compiler makes vector code of it
}

}  // namespace

RecordBatch RecordBatch::of_sized(RecordId first, std::span<const std::uint32_t> sizes, std::string_view bytes) {
  REQUIRE(std::accumulate(sizes.begin(), sizes.end(), std::uint64_t{0}) == bytes.size());
  auto content = std::make_shared<std::string>();
  content->reserve(sizes.size() * kRecordSizeWidth + bytes.size());
  for (std::uint32_t size : sizes) append_size(*content, size);
  content->append(bytes);
  RecordShape shape{.first = first, .count = static_cast<std::uint32_t>(sizes.size())};
  auto batch = of_wire(shape, *content, content);
  INVARIANT(batch.has_value());
  return *std::move(batch);
}

RecordBatch RecordBatch::of_table(RecordId first, std::string_view size_table, std::string_view bytes,
                                  std::shared_ptr<const void> owner) {
  REQUIRE(size_table.size() % kRecordSizeWidth == 0);
  REQUIRE(sum_of(size_table) == bytes.size());
  RecordBatch batch;
  batch.shape_ = {.first = first, .count = static_cast<std::uint32_t>(size_table.size() / kRecordSizeWidth)};
  batch.table_ = size_table;
  batch.bytes_ = bytes;
  batch.owner_ = std::move(owner);
  return batch;
}

std::expected<RecordBatch, std::string> RecordBatch::of_delimited(RecordId first, char delimiter, std::string bytes) {
  auto content = std::make_shared<const std::string>(std::move(bytes));
  return of_delimited(first, delimiter, *content, content);
}

std::expected<RecordBatch, std::string> RecordBatch::of_delimited(RecordId first, char delimiter,
                                                                  std::string_view bytes,
                                                                  std::shared_ptr<const void> owner) {
  if (!bytes.empty() && bytes.back() != delimiter)
    return std::unexpected("the last record of a batch lacks its delimiter");
  RecordBatch batch;
  batch.shape_ = {.first = first,
                  .count = static_cast<std::uint32_t>(occurrences(bytes, delimiter)),
                  .layout = RecordLayout::delimited,
                  .delimiter = delimiter};
  batch.bytes_ = bytes;
  batch.owner_ = std::move(owner);
  return batch;
}

std::expected<RecordBatch, std::string> RecordBatch::of_wire(const RecordShape& shape, std::string_view content,
                                                             std::shared_ptr<const void> owner) {
  if (shape.layout == RecordLayout::delimited) {
    auto batch = of_delimited(shape.first, shape.delimiter, content, std::move(owner));
    if (!batch) return batch;
    if (batch->count() != shape.count) return std::unexpected("a batch has not as many records as it says");
    batch->shape_ = shape;
    return batch;
  }
  std::uint64_t table_size = std::uint64_t{shape.count} * kRecordSizeWidth;
  if (table_size > content.size())
    return std::unexpected("a batch of records is shorter than the table of their sizes");
  RecordBatch batch;
  batch.table_ = content.substr(0, table_size);
  content.remove_prefix(table_size);
  if (sum_of(batch.table_) != content.size())
    return std::unexpected("the sizes of a batch's records do not add up to its length");
  batch.shape_ = shape;
  batch.bytes_ = content;
  batch.owner_ = std::move(owner);
  return batch;
}

// How long the records are that fit both limits, the first one in any case, and how many they are.
std::size_t RecordBatch::size_of_front(std::uint32_t count_max, std::size_t bytes_max, std::uint32_t& taken) const {
  std::size_t size = 0;
  for (taken = 0; taken < std::min(count_max, count()); ++taken) {
    std::size_t next = is_sized() ? size + record_size_at(table_, taken) : bytes_.find(shape_.delimiter, size) + 1;
    if (taken > 0 && next > bytes_max) break;
    size = next;
  }
  return size;
}

RecordBatch RecordBatch::take_front(std::uint32_t count_max, std::size_t bytes_max) {
  REQUIRE(!empty());
  REQUIRE(count_max >= 1);
  if (count_max >= count() && bytes_max >= size()) return std::exchange(*this, RecordBatch());
  std::uint32_t taken = 0;
  std::size_t size = size_of_front(count_max, bytes_max, taken);
  return cut_off(taken, size);
}

// Cuts where as many would end if all were equally long.
RecordBatch RecordBatch::take_about(std::uint32_t count_max, std::size_t bytes_max) {
  if (is_sized() || (count_max >= count() && bytes_max >= size())) return take_front(count_max, bytes_max);
  std::size_t guess = bytes_max;
  if (count_max < count()) guess = std::min<std::size_t>(guess, std::uint64_t{size()} * count_max / count());
  std::string_view front = bytes_.substr(0, guess);
  std::size_t last = front.rfind(shape_.delimiter);
  if (last == std::string_view::npos) return take_front(1);
  front = front.substr(0, last + 1);
  std::uint64_t taken = occurrences(front, shape_.delimiter);
  return taken <= count_max ? cut_off(static_cast<std::uint32_t>(taken), front.size()) : take_front(count_max);
}

RecordBatch RecordBatch::cut_off(std::uint32_t taken, std::size_t size) {
  if (taken == count()) return std::exchange(*this, RecordBatch());
  RecordBatch front = *this;
  front.shape_.count = taken;
  front.bytes_ = bytes_.substr(0, size);
  front.table_ = table_.substr(0, is_sized() ? taken * kRecordSizeWidth : 0);
  shape_.first += taken;
  shape_.count -= taken;
  bytes_.remove_prefix(size);
  table_.remove_prefix(front.table_.size());
  return front;
}

std::size_t RecordBatch::size_max() const {
  std::size_t longest = 0;
  for_each_record(*this, [&](RecordId, std::string_view record) { longest = std::max(longest, record.size()); });
  return longest;
}

std::string_view RecordBatch::front() const {
  RecordBatch copy = *this;
  return copy.take_front(1).bytes_;
}

}  // namespace sluice::link
