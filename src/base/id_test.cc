#include "base/id.h"

#include <gmock/gmock.h>

namespace sluice {
namespace {

TEST(Id, TextIsThirtyTwoDigitsAndReadsBack) {
  NodeId id = NodeId::random();
  EXPECT_EQ(id.text().size(), 32u);
  EXPECT_EQ(NodeId::parse(id.text()), id);
}

TEST(Id, RefusesWhatIsNoId) {
  EXPECT_FALSE(NodeId::parse(""));
  EXPECT_FALSE(NodeId::parse("00112233445566778899aabbccddeef"));
  EXPECT_FALSE(NodeId::parse("00112233445566778899aabbccddeefg"));
  EXPECT_FALSE(NodeId::parse("00112233445566778899aabbccddeeff0"));
}

TEST(Id, TwoRandomIdsDiffer) { EXPECT_NE(NodeId::random(), NodeId::random()); }

}  // namespace
}  // namespace sluice
