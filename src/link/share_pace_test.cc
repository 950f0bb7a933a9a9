#include "link/share_pace.h"

#include <gtest/gtest.h>

namespace sluice::link {
namespace {

using namespace std::chrono_literals;

TEST(SharePace, QuickReaderIsGivenMoreAndASlowOneNeverIs) {
  SharePace quick, slow;
  TimePoint now{};
  int grown = 0;
  for (int i = 0; i < 1000; ++i, now += 1ms) grown += quick.on_written(8192, now) ? 1 : 0;
  EXPECT_EQ(grown, 4);
  EXPECT_TRUE(quick.is_quick());
  EXPECT_EQ(quick.delivery_bytes_max(), 8192u);
  for (int i = 0; i < 1000; ++i, now += 1ms) EXPECT_FALSE(slow.on_written(100, now));
  EXPECT_EQ(slow.pipe_bytes(), 4096u);
}

}  // namespace
}  // namespace sluice::link
