#include "flow/unsettled_outputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace sluice::flow {
namespace {

using link::RecordId;
using link::WorkerRange;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> settle(UnsettledOutputs& outputs, std::vector<WorkerRange> ranges) {
  std::vector<std::string> taken;
  outputs.settle(ranges, [&](RecordId id, std::string_view record) {
    taken.push_back(std::to_string(id) + ":" + std::string(record));
  });
  return taken;
}

TEST(UnsettledOutputs, GoOnInTheOrderInWhichTheyWereWritten) {
  UnsettledOutputs outputs;
  for (auto [id, record] : {std::pair(2, "b"), std::pair(1, "a"), std::pair(2, "c"), std::pair(9, "z")})
    outputs.put(static_cast<RecordId>(id), record);
  EXPECT_EQ(outputs.bytes(), 4 * (1 + sizeof(std::string)));
  EXPECT_THAT(settle(outputs, {{1, 2}}), ElementsAre("2:b", "1:a", "2:c"));
  EXPECT_THAT(settle(outputs, {{1, 8}}), IsEmpty());
  EXPECT_THAT(settle(outputs, {{3, 1}, {7, 5}}), ElementsAre("9:z"));
  EXPECT_TRUE(outputs.empty());
  EXPECT_EQ(outputs.bytes(), 0u);
}

TEST(UnsettledOutputs, OutliveTheBufferThatTheyWereReadInto) {
  UnsettledOutputs outputs;
  std::string buffer = "first";
  outputs.put(1, buffer);
  outputs.put(2, buffer);
  outputs.keep();
  buffer = "again";
  outputs.put(1, buffer);
  EXPECT_THAT(settle(outputs, {{1, 1}}), ElementsAre("1:first", "1:again"));
  buffer = "third";
  EXPECT_THAT(settle(outputs, {{2, 1}}), ElementsAre("2:first"));
}

TEST(UnsettledOutputs, OfARecordThatFailedAreDropped) {
  UnsettledOutputs outputs;
  outputs.put(1, "a");
  outputs.put(2, "b");
  outputs.keep();
  outputs.put(1, "c");
  outputs.drop(1);
  EXPECT_EQ(outputs.bytes(), 1 + sizeof(std::string));
  EXPECT_THAT(settle(outputs, {{1, 2}}), ElementsAre("2:b"));
}

}  // namespace
}  // namespace sluice::flow
