#pragma once
// Records in batches: what a record link moves, keeps and gives back.
//
// A batch is a run of records with consecutive ids in a buffer that batches share: sending it, keeping it until it is
// acknowledged and cutting it copy no record. Records lie in it in one of two ways. `sized`: a table of their sizes,
// then their bytes one behind the other. `delimited`: each record ends with one byte that ends no other place in it, as
// lines do, and that byte is part of the record; so a block of lines is a batch as it was read, once its lines were
// counted.
// Invariants: a batch that is not empty has at least one record; delimited records have at least their delimiter.
// Threading: a value that belongs to one thread; buffers are shared with other batches of that thread.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace sluice::link {

/// A record's place in the order of its producer, from 1.
using RecordId = std::uint64_t;

enum class RecordLayout : std::uint8_t { sized = 0, delimited = 1 };

/// What a batch says of itself before its records.
struct RecordShape {
  RecordId first = 0;
  std::uint32_t count = 0;
  std::uint16_t attempt = 0;
  RecordLayout layout = RecordLayout::sized;
  char delimiter = '\n';
  bool operator==(const RecordShape&) const = default;
};

/// The width of an entry in the table of sizes, in network byte order.
inline constexpr std::size_t kRecordSizeWidth = 4;

class RecordBatch final {
 public:
  RecordBatch() = default;

  /// Of records that follow each other in `bytes`, `sizes` giving where each ends. Requires: the sizes add up.
  static RecordBatch of_sized(RecordId first, std::span<const std::uint32_t> sizes, std::string_view bytes);
  /// The same inside what `owner` keeps, with their sizes as a wire has them. Requires: the sizes add up.
  static RecordBatch of_table(RecordId first, std::string_view size_table, std::string_view bytes,
                              std::shared_ptr<const void> owner);
  /// Of lines and the like. Errors: a sentence, if `bytes` do not end with the delimiter.
  static std::expected<RecordBatch, std::string> of_delimited(RecordId first, char delimiter, std::string bytes);
  /// The same inside what `owner` keeps.
  static std::expected<RecordBatch, std::string> of_delimited(RecordId first, char delimiter, std::string_view bytes,
                                                              std::shared_ptr<const void> owner);
  /// What came over a wire, inside what `owner` keeps: for `sized`, the table and then the records. Errors: a sentence;
  /// the count is not that of the records, or the sizes do not add up.
  static std::expected<RecordBatch, std::string> of_wire(const RecordShape& shape, std::string_view content,
                                                         std::shared_ptr<const void> owner);

  bool empty() const { return shape_.count == 0; }
  std::uint32_t count() const { return shape_.count; }
  RecordId first() const { return shape_.first; }
  RecordId last() const { return shape_.first + shape_.count - 1; }
  const RecordShape& shape() const { return shape_; }
  /// Of the records, with their delimiters and without the table.
  std::size_t size() const { return bytes_.size(); }
  std::string_view bytes() const { return bytes_; }
  /// Empty unless `sized`.
  std::string_view size_table() const { return table_; }
  /// How often these records were given to a consumer, this time included; 0 before the first time.
  std::uint16_t attempt() const { return shape_.attempt; }
  void set_attempt(std::uint16_t attempt) { shape_.attempt = attempt; }
  void renumber(RecordId first) { shape_.first = first; }

  /// Cuts off and returns the first records: as many as are at most `count` and together at most `bytes` long; but one
  /// at least, which may be longer. Requires: not empty, count >= 1.
  RecordBatch take_front(std::uint32_t count, std::size_t bytes);
  RecordBatch take_front(std::uint32_t count) { return take_front(count, size()); }
  /// The same, but maybe fewer: it does not look at each delimited record.
  RecordBatch take_about(std::uint32_t count, std::size_t bytes);
  void drop_front(std::uint32_t count) { (void)take_front(count); }

  /// Of the longest record.
  std::size_t size_max() const;
  /// The first record, with its delimiter. Requires: not empty.
  std::string_view front() const;

 private:
  RecordBatch cut_off(std::uint32_t count, std::size_t size);
  std::size_t size_of_front(std::uint32_t count_max, std::size_t bytes_max, std::uint32_t& taken) const;

  bool is_sized() const { return shape_.layout == RecordLayout::sized; }

  RecordShape shape_;
  std::string_view table_;
  std::string_view bytes_;
  std::shared_ptr<const void> owner_;  // of the bytes, with the batches that were cut from the same
};

/// An entry of a table of sizes.
inline std::uint32_t record_size_at(std::string_view table, std::size_t index) {
  std::uint32_t size = 0;
  std::memcpy(&size, table.data() + index * kRecordSizeWidth, sizeof size);
  return std::endian::native == std::endian::little ? std::byteswap(size) : size;
}
static_assert(sizeof(std::uint32_t) == kRecordSizeWidth);

/// Calls `visit(id, record)` for each record, in order; records are shown with their delimiters.
template <class Visit>
void for_each_record(RecordBatch batch, Visit&& visit) {
  std::string_view rest = batch.bytes();
  bool sized = batch.shape().layout == RecordLayout::sized;
  for (std::uint32_t i = 0; i < batch.count(); ++i) {
    std::size_t size = sized ? record_size_at(batch.size_table(), i) : rest.find(batch.shape().delimiter) + 1;
    visit(batch.first() + i, rest.substr(0, size));
    rest.remove_prefix(size);
  }
}

}  // namespace sluice::link
