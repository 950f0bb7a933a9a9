#include "net/silence_watch.h"

#include <gtest/gtest.h>

namespace sluice::net {
namespace {

using std::chrono::milliseconds;

TEST(SilenceWatch, AccusesAPeerThatLetsBytesGoUnanswered) {
  EXPECT_TRUE(is_silent({.unacknowledged = true, .acknowledged = milliseconds(12'500), .sent = milliseconds(4000)}));
}

TEST(SilenceWatch, WaitsForAnAnswer) {
  EXPECT_FALSE(is_silent({.unacknowledged = true, .acknowledged = milliseconds(11'000), .sent = milliseconds(4000)}));
}

// A stopped reader: its kernel acknowledges everything and says that there is no room.
TEST(SilenceWatch, SparesAReaderThatTakesItsTime) {
  EXPECT_FALSE(
      is_silent({.unacknowledged = false, .acknowledged = milliseconds(100'000), .sent = milliseconds(200'000)}));
}

// A window that shrank: the kernel sends again now and then, and each time the peer answers at once.
TEST(SilenceWatch, SparesAPeerThatAnsweredTheLastRepetition) {
  EXPECT_FALSE(is_silent({.unacknowledged = true, .acknowledged = milliseconds(20'000), .sent = milliseconds(20'050)}));
}

}  // namespace
}  // namespace sluice::net
