// Any bytes, in any pieces, said to one end of a record link: to a producer that has sent records, or to a consumer that has
// granted credit. The end answers or refuses, and what it counts and holds stays true. The first byte chooses the end and whether
// a good beginning was said already, the second how the rest is cut into pieces.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "link/record_consumer.h"
#include "link/record_framing.h"
#include "link/record_producer.h"
#include "require.h"

namespace {

using namespace sluice;
using namespace sluice::link;
using sluice::fuzz::require;

constexpr TimePoint kNow{std::chrono::hours(1)};
constexpr std::size_t kRecordMax = std::size_t{1} << 16;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

template <class Say>
void in_pieces(std::span<const std::byte> bytes, std::size_t piece, Say&& say) {
  while (!bytes.empty()) {
    auto some = bytes.first(std::min(bytes.size(), piece));
    bytes = bytes.subspan(some.size());
    if (!say(some)) return;
  }
}

void hold(RecordProducer& producer) {
  RecordCounts counts = producer.counts();
  require(counts.accepted == counts.acknowledged + counts.buried + counts.pending + counts.held + counts.in_flight,
          "every record is somewhere");
  require(counts.accepted == 6, "none is made up");
}

void say_to_producer(std::span<const std::byte> bytes, std::size_t piece, bool begun) {
  RecordProducer producer;
  producer.on_batch(RecordBatch::of_delimited(1, '\n', std::string("a\nb\nc\n")).value());
  producer.on_batch(RecordBatch::of_delimited(4, '\n', std::string("d\ne\nf\n")).value());
  require(producer.on_connected(1, 1).has_value(), "it may connect");
  if (begun) {
    std::string good = encode(RecordAttach{}) + encode(RecordCredit{.deliveries = 4, .bytes = 100});
    require(producer.on_bytes(1, bytes_of(good)).has_value(), "a good beginning is taken");
  }
  in_pieces(bytes, piece, [&](std::span<const std::byte> some) {
    while (producer.poll_transmit(1)) {
    }
    auto taken = producer.on_bytes(1, some);
    require(taken || !taken.error().empty(), "an error says what is wrong");
    hold(producer);
    while (auto event = producer.poll_event())
      if (auto* rejected = std::get_if<RecordRejected>(&*event)) producer.retry(rejected->record);
    hold(producer);
    return taken.has_value();
  });
}

void say_to_consumer(std::span<const std::byte> bytes, std::size_t piece, bool begun) {
  RecordConsumerOptions options;
  options.record_max = kRecordMax;
  RecordConsumer consumer(options);
  consumer.on_connected();
  auto answer = [&] {
    while (consumer.poll_transmit(kNow)) {
    }
  };
  if (begun) answer();
  in_pieces(bytes, piece, [&](std::span<const std::byte> some) {
    auto taken = consumer.on_bytes(some, kNow);
    require(taken || !taken.error().empty(), "an error says what is wrong");
    require(consumer.unsettled_bytes() <= std::max<std::size_t>(options.bytes.size_max, kRecordMax),
            "memory is bounded");
    require(consumer.unsettled() <= options.records.size_max, "records are bounded");
    while (auto delivery = consumer.poll_delivery({.records = 2}, kNow)) {
      std::uint32_t count = 0;
      for_each_record(delivery->batch, [&](RecordId, std::string_view) { ++count; });
      require(count == delivery->batch.count(), "a batch has as many records as it says");
      consumer.settle({.first = delivery->first, .last = delivery->first + count - 1}, kNow);
    }
    answer();
    return taken.has_value();
  });
}

void cut_into_records(std::span<const std::byte> bytes, std::size_t piece, RecordFraming framing) {
  RecordCutter cutter({.framing = framing, .record_max = 64, .block_size = 32});
  RecordId next = 1;
  auto check = [&](const std::expected<RecordBatch, std::string>& batch) {
    if (!batch || batch->empty()) return batch.has_value();
    require(batch->first() == next, "ids follow each other");
    next = batch->last() + 1;
    require(batch->size_max() <= 65, "no record is beyond the limit");
    return true;
  };
  bool good = true;
  in_pieces(bytes, piece, [&](std::span<const std::byte> some) {
    while (good && !some.empty()) {
      auto room = cutter.room();
      std::size_t size = std::min(room.size(), some.size());
      std::ranges::copy(some.first(size), room.begin());
      some = some.subspan(size);
      good = check(cutter.on_bytes(size));
    }
    return good;
  });
  if (good) check(cutter.on_end());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  auto bytes = std::as_bytes(std::span(data + 2, size - 2));
  std::size_t piece = 1 + data[1] % 64;
  bool begun = (data[0] & 1) != 0;
  switch (data[0] / 2 % 3) {
    case 0:
      say_to_producer(bytes, piece, begun);
      break;
    case 1:
      say_to_consumer(bytes, piece, begun);
      break;
    default:
      cut_into_records(bytes, piece, static_cast<RecordFraming>(data[0] / 8 % 4));
  }
  return 0;
}
