#include "link/record_order.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::link {
namespace {

RecordBatch line(std::string text) { return RecordBatch::of_delimited(1, '\n', text + "\n").value(); }

std::string all(RecordOrder& order) {
  std::string text;
  while (auto batch = order.poll()) text += batch->bytes();
  return text;
}

TEST(RecordOrder, LetsRecordsLeaveInTheOrderOfTheirIds) {
  RecordOrder order;
  order.put(3, line("c"));
  EXPECT_EQ(all(order), "");
  order.put(1, line("a"));
  EXPECT_EQ(all(order), "a\n");
  EXPECT_EQ(order.next(), 2u);
  EXPECT_EQ(order.bytes(), 2u);
  order.put(2, line("b"));
  EXPECT_EQ(all(order), "b\nc\n");
  EXPECT_EQ(order.bytes(), 0u);
  EXPECT_TRUE(order.empty());
}

TEST(RecordOrder, PassesOverWhatNeverComes) {
  RecordOrder order;
  order.put(4, line("d"));
  order.skip(2, 2);
  order.put(1, line("a"));
  EXPECT_EQ(all(order), "a\nd\n");
  order.skip(5, 1);
  EXPECT_EQ(all(order), "");
  EXPECT_EQ(order.next(), 6u);
}

}  // namespace
}  // namespace sluice::link
