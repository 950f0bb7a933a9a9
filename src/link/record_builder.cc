#include "link/record_builder.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "base/require.h"

namespace sluice::link {

void RecordBuilder::begin(std::size_t record_size) {
  std::size_t wanted = table_room() + std::max(options_.bytes_max, record_size);
  if (buffer_ && capacity_ >= wanted) return;
  buffer_ = take_block(blocks_, wanted);
  capacity_ = wanted;
}

void RecordBuilder::add(std::string_view record) {
  REQUIRE(!is_full_for(record.size()));
  REQUIRE(record.size() <= std::numeric_limits<std::uint32_t>::max());
  if (count_ == 0) begin(record.size());
  auto size = static_cast<std::uint32_t>(record.size());
  if constexpr (std::endian::native == std::endian::little) size = std::byteswap(size);
  std::memcpy(buffer_.get() + count_ * kRecordSizeWidth, &size, sizeof size);
  std::memcpy(buffer_.get() + table_room() + size_, record.data(), record.size());
  ++count_;
  size_ += record.size();
}

RecordBatch RecordBuilder::take(RecordId first) {
  if (count_ == 0) return RecordBatch();
  std::string_view table(buffer_.get(), std::exchange(count_, 0) * kRecordSizeWidth);
  std::string_view bytes(buffer_.get() + table_room(), std::exchange(size_, 0));
  // A slow source makes batches of few records; one that kept a whole buffer would be beyond every window.
  if (std::size_t size = table.size() + bytes.size(); size < capacity_ / 2) {
    auto copy = std::make_shared_for_overwrite<char[]>(size);
    std::memcpy(copy.get(), table.data(), table.size());
    if (!bytes.empty()) std::memcpy(copy.get() + table.size(), bytes.data(), bytes.size());
    table = {copy.get(), table.size()};
    bytes = {copy.get() + table.size(), bytes.size()};
    return RecordBatch::of_table(first, table, bytes, std::move(copy));
  }
  return RecordBatch::of_table(first, table, bytes, std::exchange(buffer_, nullptr));
}

}  // namespace sluice::link
