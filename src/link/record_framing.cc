#include "link/record_framing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/require.h"

namespace sluice::link {
namespace {

// A buffer with less room than that is not worth a read.
constexpr std::size_t kRoomMin = std::size_t{16} << 10;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::uint32_t length_at(std::string_view bytes) {
  std::uint32_t value = 0;
  for (char c : bytes.substr(0, kRecordSizeWidth)) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

void append_length(std::string& stream, std::size_t length) {
  for (int shift = 24; shift >= 0; shift -= 8) stream.push_back(static_cast<char>(length >> shift));
}

}  // namespace

void append_framed(const RecordBatch& batch, RecordFraming framing, std::string& stream) {
  if (batch.shape().layout == RecordLayout::delimited) {
    stream.append(batch.bytes());
    return;
  }
  for_each_record(batch, [&](RecordId, std::string_view record) {
    if (framing == RecordFraming::len) append_length(stream, record.size());
    stream.append(record);
    if (framing == RecordFraming::json) stream.push_back('\n');
  });
}

std::size_t framing_bytes(RecordFraming framing) {
  switch (framing) {
    case RecordFraming::len:
      return kRecordSizeWidth;
    case RecordFraming::json:
      return 1;
    case RecordFraming::lines:
    case RecordFraming::null:
      break;
  }
  return 0;  // the delimiter is in the batch
}

RecordCutter::RecordCutter(const Options& options) : options_(options) {
  REQUIRE(options.record_max < std::size_t{1} << 32);
  REQUIRE(options.block_size >= 1);
}

std::span<std::byte> RecordCutter::room() {
  std::size_t wanted = std::min(kRoomMin, options_.block_size);
  if (capacity_ - end_ < wanted) {
    // What is unfinished goes to a buffer of its own; it doubles while it is longer than a block.
    std::size_t carried = end_ - begin_;
    std::size_t capacity = std::max(options_.block_size, 2 * carried + wanted);
    auto buffer = std::make_shared_for_overwrite<char[]>(capacity);
    if (carried > 0) std::memcpy(buffer.get(), buffer_.get() + begin_, carried);
    buffer_ = std::move(buffer);
    capacity_ = capacity;
    begin_ = 0;
    end_ = carried;
  }
  return std::as_writable_bytes(std::span(buffer_.get() + end_, capacity_ - end_));
}

std::expected<RecordBatch, std::string> RecordCutter::on_bytes(std::size_t size) {
  REQUIRE(size <= capacity_ - end_);
  end_ += size;
  if (is_delimited()) return cut_delimited(size);
  return options_.framing == RecordFraming::len ? cut_sized() : cut_json();
}

RecordCutter::Cut RecordCutter::cut_delimited(std::size_t fresh) {
  char delimiter = options_.framing == RecordFraming::lines ? '\n' : '\0';
  const void* last = ::memrchr(buffer_.get() + end_ - fresh, delimiter, fresh);
  if (last == nullptr) {
    if (unfinished().size() > options_.record_max) return too_long();
    return RecordBatch();
  }
  std::string_view whole(buffer_.get() + begin_, static_cast<const char*>(last) + 1);
  begin_ += whole.size();
  auto batch = RecordBatch::of_delimited(1, delimiter, whole, buffer_);
  INVARIANT(batch.has_value());
  bool may_be_too_long = whole.size() > options_.record_max + 1 && batch->size_max() > options_.record_max + 1;
  if (may_be_too_long || unfinished().size() > options_.record_max) return too_long();
  return numbered(*std::move(batch));
}

RecordCutter::Cut RecordCutter::cut_sized() {
  std::vector<std::uint32_t> sizes;
  std::string bytes;
  while (true) {
    std::string_view rest = unfinished();
    if (rest.size() < kRecordSizeWidth) break;
    std::uint32_t length = length_at(rest);
    if (length > options_.record_max) return too_long();
    if (rest.size() - kRecordSizeWidth < length) break;
    sizes.push_back(length);
    bytes.append(rest.substr(kRecordSizeWidth, length));
    begin_ += kRecordSizeWidth + length;
  }
  return batch_of(sizes, bytes);
}

RecordCutter::Cut RecordCutter::cut_json() {
  using Step = JsonValueEnd::Step;
  std::vector<std::uint32_t> sizes;
  std::string bytes;
  while (true) {
    while (looked_at_ == 0 && begin_ < end_ && is_space(buffer_[static_cast<std::ptrdiff_t>(begin_)])) ++begin_;
    std::string_view value = unfinished();
    if (looked_at_ == value.size()) break;
    char c = value[looked_at_++];
    Step step = json_.on_character(c);
    if (step == Step::closes_nothing)
      return std::unexpected(fmt::format("'{}' closes nothing in the JSON of record {}", c, next_id_ + sizes.size()));
    std::size_t size = looked_at_ - (step == Step::ends_before ? 1 : 0);
    if (size > options_.record_max) return too_long();
    if (step == Step::within) continue;
    sizes.push_back(static_cast<std::uint32_t>(size));
    bytes.append(value.substr(0, size));
    begin_ += size;
    looked_at_ = 0;
    json_ = JsonValueEnd();
  }
  return batch_of(sizes, bytes);
}

JsonValueEnd::Step JsonValueEnd::on_character(char c) {
  bool first = !std::exchange(begun_, true);
  if (in_string_) {
    in_string_ = escaped_ || c != '"';
    escaped_ = !escaped_ && c == '\\';
    return is_plain() ? Step::ends_behind : Step::within;
  }
  if (c == '}' || c == ']') {
    if (depth_ == 0) return Step::closes_nothing;
    return --depth_ == 0 ? Step::ends_behind : Step::within;
  }
  bool opens = c == '{' || c == '[' || c == '"';
  if (depth_ == 0 && !first && (opens || is_space(c))) return Step::ends_before;
  if (c == '"') in_string_ = true;
  if (c == '{' || c == '[') ++depth_;
  return Step::within;
}

RecordCutter::Cut RecordCutter::on_end() {
  std::string_view rest = unfinished();
  if (options_.framing == RecordFraming::len && !rest.empty())
    return std::unexpected(fmt::format("the stream ends within record {}", next_id_));
  if (options_.framing == RecordFraming::json && !json_.is_plain())
    return std::unexpected(fmt::format("the stream ends within the JSON of record {}", next_id_));
  if (rest.empty()) return RecordBatch();
  if (options_.framing == RecordFraming::json) {
    auto size = static_cast<std::uint32_t>(rest.size());
    std::string bytes(rest);
    begin_ = end_;
    return batch_of({size}, bytes);
  }
  char delimiter = options_.framing == RecordFraming::lines ? '\n' : '\0';
  auto batch = RecordBatch::of_delimited(1, delimiter, std::string(rest) + delimiter);
  INVARIANT(batch.has_value());
  begin_ = end_;
  return numbered(*std::move(batch));
}

RecordCutter::Cut RecordCutter::batch_of(const std::vector<std::uint32_t>& sizes, std::string_view bytes) {
  if (sizes.empty()) return RecordBatch();
  return numbered(RecordBatch::of_sized(1, sizes, bytes));
}

RecordCutter::Cut RecordCutter::numbered(RecordBatch batch) {
  batch.renumber(next_id_);
  next_id_ += batch.count();
  return batch;
}

std::unexpected<std::string> RecordCutter::too_long() const {
  return std::unexpected(
      fmt::format("record {} or one soon after it is longer than {} bytes", next_id_, options_.record_max));
}

}  // namespace sluice::link
