#include "link/worker_frames.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/require.h"
#include "base/wire.h"

namespace sluice::link {
namespace {

using Refusal = std::unexpected<std::string>;

constexpr std::size_t kReadAtOnce = std::size_t{256} << 10;
constexpr std::size_t kSourceFlag = 1;
// What stands in a body beside one long record.
constexpr std::size_t kBodyHead = 64;

// From, inclusive; their names are for messages.
struct KindRule {
  WorkerFrameKind kind;
  const char* name;
  bool carries_records;
};
constexpr KindRule kFromWorker[] = {
    {WorkerFrameKind::hello, "hello", false},       {WorkerFrameKind::credit, "credit", false},
    {WorkerFrameKind::outputs, "outputs", true},    {WorkerFrameKind::done, "done", false},
    {WorkerFrameKind::fail, "fail", false},         {WorkerFrameKind::leave, "leave", false},
    {WorkerFrameKind::finished, "finished", false}, {WorkerFrameKind::refuse, "refuse", false},
};

const KindRule* rule_of(std::uint8_t kind) {
  auto rule = std::ranges::find(kFromWorker, static_cast<WorkerFrameKind>(kind), &KindRule::kind);
  return rule == std::end(kFromWorker) ? nullptr : rule;
}

void append_number(std::string& stream, std::uint64_t value, std::size_t width) {
  for (std::size_t shift = width; shift-- > 0;) stream.push_back(static_cast<char>(value >> (8 * shift)));
}

void append_header(std::string& stream, WorkerFrameKind kind, std::size_t size) {
  append_number(stream, size, 4);
  append_number(stream, static_cast<std::uint8_t>(kind), 1);
  append_number(stream, 0, 3);
}

Refusal wrong(std::string_view frame, std::string_view what) {
  return Refusal(fmt::format("its frame '{}' {}", frame, what));
}

// What stood where a header should: most often a program that prints.
std::string shown(std::string_view bytes) {
  std::string text;
  for (char c : bytes.substr(0, kWorkerHeaderSize)) {
    auto byte = static_cast<std::uint8_t>(c);
    text += byte >= 0x20 && byte < 0x7f ? std::string(1, c) : fmt::format("\\x{:02x}", byte);
  }
  return text;
}

}  // namespace

std::expected<WorkerHello, std::string> decode_worker_hello(std::string_view body) {
  WireReader reader(body);
  if (reader.get_raw(kWorkerMagic.size()) != kWorkerMagic) return wrong("hello", "does not begin with SLWK");
  WorkerHello hello;
  hello.major = reader.get<std::uint16_t>();
  hello.minor = reader.get<std::uint16_t>();
  if (hello.major != kWorkerMajor && !reader.failed()) return hello;  // what follows is another version's business
  hello.source = (reader.get<std::uint16_t>() & kSourceFlag) != 0;
  hello.concurrency = reader.get<std::uint32_t>();
  hello.role = reader.get_text<std::uint16_t>();
  hello.library = reader.get_text<std::uint16_t>();
  if (reader.failed()) return wrong("hello", "ends within a field");
  if (std::max(hello.role.size(), hello.library.size()) > kWorkerTextMax) return wrong("hello", "has too long a text");
  return hello;
}

std::expected<WorkerCredit, std::string> decode_worker_credit(std::string_view body) {
  WireReader reader(body);
  WorkerCredit credit;
  credit.concurrency = reader.get<std::uint32_t>();
  credit.records = reader.get<std::uint32_t>();
  credit.bytes = reader.get<std::uint64_t>();
  if (reader.failed()) return wrong("credit", "ends within a field");
  return credit;
}

std::expected<WorkerOutputs, std::string> decode_worker_outputs(std::string_view body, std::size_t record_max) {
  constexpr std::size_t kEntry = WorkerOutputs::kEntrySize;
  if (body.size() < kRecordSizeWidth) return wrong("outputs", "ends within a field");
  std::uint64_t count = record_size_at(body, 0);
  body.remove_prefix(kRecordSizeWidth);
  if (count == 0) return wrong("outputs", "has no record");
  if (count * kEntry > body.size()) return wrong("outputs", "is shorter than the table of its records");
  if (count > 1 && body.size() > kWorkerBatchMax)
    return wrong("outputs", "has several records and is longer than 1 MiB");
  std::string_view table = body.substr(0, count * kEntry);
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < table.size(); at += kEntry) {
    std::uint32_t size = record_size_at(table.substr(at + 8), 0);
    if (size > record_max) return wrong("outputs", fmt::format("has a record longer than {} bytes", record_max));
    sum += size;
  }
  if (sum != body.size() - table.size()) return wrong("outputs", "is not as long as the sizes of its records say");
  return WorkerOutputs(table, body.substr(table.size()));
}

std::expected<std::vector<WorkerRange>, std::string> decode_worker_done(std::string_view body) {
  constexpr std::size_t kEntry = 12;
  if (body.empty() || body.size() % kEntry != 0) return wrong("done", "is no list of ranges");
  std::vector<WorkerRange> ranges;
  ranges.reserve(body.size() / kEntry);
  WireReader reader(body);
  while (reader.left() > 0) {
    WorkerRange range;
    range.first = reader.get<std::uint64_t>();
    range.count = reader.get<std::uint32_t>();
    if (range.count == 0) return wrong("done", "has a range of no record");
    ranges.push_back(range);
  }
  return ranges;
}

std::expected<WorkerFailure, std::string> decode_worker_failure(std::string_view body) {
  WireReader reader(body);
  WorkerFailure failure{.record = reader.get<std::uint64_t>(), .reason = {}};
  if (reader.failed()) return wrong("fail", "ends within a field");
  if (reader.left() > kWorkerTextMax) return wrong("fail", "has too long a reason");
  failure.reason = reader.rest();
  return failure;
}

void append_worker_welcome(std::string& stream, const WorkerWelcome& welcome) {
  WireWriter body;
  body.put_raw(kWorkerMagic);
  body.put(welcome.major);
  body.put(welcome.minor);
  body.put(welcome.concurrency);
  body.put(welcome.worker);
  body.put(welcome.record_max);
  body.put_text<std::uint16_t>(std::string_view(welcome.flow).substr(0, kWorkerTextMax));
  body.put_text<std::uint16_t>(std::string_view(welcome.stage).substr(0, kWorkerTextMax));
  append_worker_frame(stream, WorkerFrameKind::welcome, body.bytes());
}

void append_worker_records(std::string& stream, const RecordBatch& batch, std::uint32_t attempt) {
  REQUIRE(!batch.empty());
  bool delimited = batch.shape().layout == RecordLayout::delimited;
  std::size_t bytes = batch.size() - (delimited ? batch.count() : 0);
  std::size_t table = batch.count() * kRecordSizeWidth;
  append_header(stream, WorkerFrameKind::records, 16 + table + bytes);
  append_number(stream, batch.first(), 8);
  append_number(stream, attempt, 4);
  append_number(stream, batch.count(), 4);
  if (!delimited) {
    stream.append(batch.size_table());
    stream.append(batch.bytes());
    return;
  }
  std::size_t table_at = stream.size();
  stream.resize(table_at + table + bytes);
  char* entry = stream.data() + table_at;
  char* to = entry + table;
  for_each_record(batch, [&](RecordId, std::string_view record) {
    auto size = static_cast<std::uint32_t>(record.size() - 1);
    std::uint32_t on_wire = std::endian::native == std::endian::little ? std::byteswap(size) : size;
    std::memcpy(entry, &on_wire, sizeof on_wire);
    std::memcpy(to, record.data(), size);
    entry += sizeof on_wire;
    to += size;
  });
}

void append_worker_frame(std::string& stream, WorkerFrameKind kind, std::string_view body) {
  append_header(stream, kind, body.size());
  stream.append(body);
}

void append_worker_refusal(std::string& stream, std::string_view why) {
  append_worker_frame(stream, WorkerFrameKind::refuse, why.substr(0, kWorkerTextMax));
}

// --- reading ------------------------------------------------------------------------------------------------------

std::span<std::byte> WorkerFrameReader::room() {
  std::size_t carried = end_ - begin_;
  if (capacity_ - end_ < kReadAtOnce / 4 || begin_ == end_) {
    // A frame that is longer than the buffer doubles it as it comes, so that nobody gets memory for a length alone.
    std::size_t wanted = std::max(kReadAtOnce, 2 * carried);
    bool fits = capacity_ >= wanted && (capacity_ == kReadAtOnce || carried > kReadAtOnce / 2);
    if (fits) {
      if (carried > 0) std::memmove(buffer_.get(), buffer_.get() + begin_, carried);
    } else {
      auto buffer = std::make_unique_for_overwrite<char[]>(wanted);
      if (carried > 0) std::memcpy(buffer.get(), buffer_.get() + begin_, carried);
      buffer_ = std::move(buffer);
      capacity_ = wanted;
    }
    begin_ = 0;
    end_ = carried;
  }
  return std::as_writable_bytes(std::span(buffer_.get() + end_, capacity_ - end_));
}

std::expected<std::optional<WorkerFrame>, std::string> WorkerFrameReader::next() {
  std::string_view rest(buffer_.get() + begin_, end_ - begin_);
  if (rest.size() < kWorkerHeaderSize) return std::nullopt;
  std::size_t size = record_size_at(rest, 0);
  auto kind = static_cast<std::uint8_t>(rest[4]);
  const KindRule* rule = rule_of(kind);
  if (rule == nullptr || rest[5] != 0 || rest[6] != 0 || rest[7] != 0)
    return Refusal(fmt::format("it does not speak the protocol of workers: '{}' is no header of a frame", shown(rest)));
  std::size_t limit = rule->carries_records ? std::max(record_max_ + kBodyHead, kWorkerBatchMax) : kWorkerBodyMax;
  if (size > limit) return wrong(rule->name, fmt::format("is longer than {} bytes", limit));
  if (rest.size() - kWorkerHeaderSize < size) return std::nullopt;
  begin_ += kWorkerHeaderSize + size;
  return WorkerFrame{.kind = rule->kind, .body = rest.substr(kWorkerHeaderSize, size)};
}

}  // namespace sluice::link
