#include "link/record_batch.h"

#include <gmock/gmock.h>

#include <vector>

#include "base/random.h"

namespace sluice::link {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

RecordBatch lines(RecordId first, std::string text) {
  auto batch = RecordBatch::of_delimited(first, '\n', std::move(text));
  EXPECT_TRUE(batch.has_value());
  return *std::move(batch);
}

RecordBatch sized(RecordId first, const std::vector<std::string>& records) {
  std::vector<std::uint32_t> sizes;
  std::string bytes;
  for (const std::string& record : records) {
    sizes.push_back(static_cast<std::uint32_t>(record.size()));
    bytes += record;
  }
  return RecordBatch::of_sized(first, sizes, bytes);
}

std::vector<std::pair<RecordId, std::string>> content(const RecordBatch& batch) {
  std::vector<std::pair<RecordId, std::string>> records;
  for_each_record(batch, [&](RecordId id, std::string_view record) { records.emplace_back(id, record); });
  return records;
}

TEST(RecordBatch, LinesAreRecordsWithTheirNewline) {
  EXPECT_THAT(content(lines(7, "a\n\nccc\n")), ElementsAre(Pair(7, "a\n"), Pair(8, "\n"), Pair(9, "ccc\n")));
}

TEST(RecordBatch, SizedRecordsMayHoldAnythingAndBeEmpty) {
  EXPECT_THAT(content(sized(1, {"a\nb", "", "c"})), ElementsAre(Pair(1, "a\nb"), Pair(2, ""), Pair(3, "c")));
}

TEST(RecordBatch, CutsOffAsManyAsBothLimitsAllow) {
  for (RecordBatch batch : {lines(1, "aa\nbb\ncc\ndd\n"), sized(1, {"aa\n", "bb\n", "cc\n", "dd\n"})}) {
    EXPECT_THAT(content(batch.take_front(3, 8)), ElementsAre(Pair(1, "aa\n"), Pair(2, "bb\n")));
    EXPECT_THAT(content(batch.take_front(1, 100)), ElementsAre(Pair(3, "cc\n")));
    EXPECT_EQ(batch.count(), 1u);
    EXPECT_EQ(batch.size(), 3u);
    EXPECT_THAT(content(batch.take_front(9, 100)), ElementsAre(Pair(4, "dd\n")));
    EXPECT_TRUE(batch.empty());
  }
}

TEST(RecordBatch, CutsOffOneRecordThoughItIsTooLong) {
  for (RecordBatch batch : {lines(1, "long enough\nb\n"), sized(1, {"long enough\n", "b\n"})}) {
    EXPECT_THAT(content(batch.take_front(5, 3)), ElementsAre(Pair(1, "long enough\n")));
    EXPECT_THAT(content(batch), ElementsAre(Pair(2, "b\n")));
  }
}

TEST(RecordBatch, CutsOffAboutAsManyAndNeverMore) {
  SeededRandom random(random_seed());
  for (int run = 0; run < 2000; ++run) {
    std::string text;
    for (std::uint64_t records = 1 + random.below(20); records > 0; --records)
      text += std::string(random.below(30), 'x') + "\n";
    RecordBatch batch = lines(1, text);
    std::string together;
    while (!batch.empty()) {
      auto count = static_cast<std::uint32_t>(1 + random.below(6));
      std::size_t bytes = 1 + random.below(60);
      RecordBatch front = batch.take_about(count, bytes);
      EXPECT_GE(front.count(), 1u);
      EXPECT_LE(front.count(), count);
      EXPECT_TRUE(front.size() <= bytes || front.count() == 1);
      EXPECT_EQ(content(front).size(), front.count());
      together += front.bytes();
    }
    EXPECT_EQ(together, text);
  }
}

TEST(RecordBatch, WhatIsCutOffOutlivesTheRest) {
  RecordBatch front;
  {
    RecordBatch batch = lines(1, "first\nsecond\n");
    front = batch.take_front(1);
  }
  EXPECT_EQ(front.bytes(), "first\n");
}

TEST(RecordBatch, KnowsItsLongestRecord) {
  EXPECT_EQ(sized(1, {"a", "bbb", ""}).size_max(), 3u);
  EXPECT_EQ(lines(1, "a\nbbbb\n").size_max(), 5u);
}

std::string refusal(const RecordShape& shape, const std::string& content) {
  auto batch = RecordBatch::of_wire(shape, content, nullptr);
  return batch ? "" : batch.error();
}

TEST(RecordBatch, RefusesWhatItsShapeDoesNotFit) {
  using namespace std::string_literals;
  RecordShape one{.first = 1, .count = 1};
  EXPECT_THAT(refusal(one, "\0\0"s), HasSubstr("shorter than the table"));
  EXPECT_THAT(refusal(one, "\0\0\0\2a"s), HasSubstr("do not add up"));
  EXPECT_THAT(refusal(one, "\xff\xff\xff\xff"s), HasSubstr("do not add up"));
  EXPECT_EQ(refusal(one, "\0\0\0\1a"s), "");
  RecordShape line{.first = 1, .count = 1, .layout = RecordLayout::delimited};
  EXPECT_THAT(refusal(line, "a"), HasSubstr("lacks its delimiter"));
  EXPECT_THAT(refusal(line, "a\nb\n"), HasSubstr("as many records"));
  EXPECT_EQ(refusal(line, "a\n"), "");
}

}  // namespace
}  // namespace sluice::link
