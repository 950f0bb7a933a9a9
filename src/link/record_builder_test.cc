#include "link/record_builder.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

namespace sluice::link {
namespace {

using testing::ElementsAre;
using testing::Pair;

std::vector<std::pair<RecordId, std::string>> content(const RecordBatch& batch) {
  std::vector<std::pair<RecordId, std::string>> records;
  for_each_record(batch, [&](RecordId id, std::string_view record) { records.emplace_back(id, record); });
  return records;
}

TEST(RecordBuilder, GathersRecordsOfAnySize) {
  RecordBuilder builder;
  for (const char* record : {"a", "", "three"}) builder.add(record);
  EXPECT_THAT(content(builder.take(5)), ElementsAre(Pair(5, "a"), Pair(6, ""), Pair(7, "three")));
  EXPECT_TRUE(builder.empty());
  EXPECT_TRUE(builder.take(8).empty());
}

TEST(RecordBuilder, ABatchThatIsTakenKeepsItsRecords) {
  RecordBuilder builder;
  builder.add("first");
  RecordBatch first = builder.take(1);
  builder.add("second");
  EXPECT_THAT(content(first), ElementsAre(Pair(1, "first")));
  EXPECT_THAT(content(builder.take(2)), ElementsAre(Pair(2, "second")));
}

TEST(RecordBuilder, AFullBatchKeepsItsRecordsToo) {
  RecordBuilder builder({}, RecordBlocks::make());
  std::vector<RecordBatch> batches;
  int made = 0;
  for (int batch = 0; batch < 3; ++batch) {
    while (!builder.is_full_for(100)) builder.add(std::string(92, 'x') + std::to_string(10'000'000 + made++));
    batches.push_back(builder.take(1));
    EXPECT_GT(batches.back().count(), 1000u);
  }
  int seen = 0;
  for (const RecordBatch& batch : batches)
    for_each_record(batch, [&](RecordId, std::string_view record) {
      EXPECT_EQ(record.substr(92), std::to_string(10'000'000 + seen++));
    });
  EXPECT_EQ(seen, made);
}

TEST(RecordBuilder, IsFullWhenABatchIs) {
  RecordBuilder builder({.bytes_max = 10, .records_max = 3});
  builder.add("12345678");
  EXPECT_FALSE(builder.is_full_for(2));
  EXPECT_TRUE(builder.is_full_for(3));
  builder.add("");
  builder.add("");
  EXPECT_TRUE(builder.is_full_for(0));
}

TEST(RecordBuilder, OneRecordMayBeLongerThanABatch) {
  RecordBuilder builder({.bytes_max = 10, .records_max = 3});
  std::string longer(1000, 'x');
  ASSERT_FALSE(builder.is_full_for(longer.size()));
  builder.add(longer);
  EXPECT_THAT(content(builder.take(1)), ElementsAre(Pair(1, longer)));
}

}  // namespace
}  // namespace sluice::link
