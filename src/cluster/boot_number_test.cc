#include "cluster/boot_number.h"

#include <gtest/gtest.h>

#include "cluster/temporary_folder_for_test.h"

namespace sluice::cluster {
namespace {

using namespace std::chrono_literals;

constexpr WallTime kNow = std::chrono::sys_days(std::chrono::year(2026) / 5 / 1);

TEST(BootNumber, GrowsWithEveryStartWhateverTheClockSays) {
  TemporaryFolder folder;
  BootNumber last;
  for (WallTime now : {kNow, kNow, kNow + 1h, WallTime(0s), kNow - 24h * 365, WallTime(-5s), kNow}) {
    auto boot = next_boot(folder.path(), now);
    ASSERT_TRUE(boot) << boot.error().message;
    EXPECT_GT(*boot, last);
    EXPECT_FALSE(boot->is_passer_by());
    last = *boot;
  }
}

TEST(BootNumber, GoesByTheClockAfterAnOldImageOfTheDiskWasRestored) {
  TemporaryFolder folder;
  ASSERT_TRUE(next_boot(folder.path(), kNow - 100h));
  const std::string image = folder.read("boot");
  const BootNumber last = *next_boot(folder.path(), kNow - 1h);
  folder.write("boot", image);
  EXPECT_GT(*next_boot(folder.path(), kNow), last);
}

TEST(BootNumber, ADamagedFileCountsAsNone) {
  TemporaryFolder folder;
  for (std::string_view content : {"", "x\n", "-1\n", "12", "99999999999999999999999\n", "549755813888\n"}) {
    folder.write("boot", content);
    auto boot = next_boot(folder.path(), kNow);
    ASSERT_TRUE(boot);
    EXPECT_EQ(boot->value >> 24, static_cast<std::uint64_t>(kNow.time_since_epoch().count())) << content;
  }
  EXPECT_FALSE(next_boot(folder.path("no/such/folder"), kNow));
}

TEST(BootNumber, APasserByIsToldByItsNumber) {
  EXPECT_TRUE(BootNumber::passer_by().is_passer_by());
  TemporaryFolder folder;
  EXPECT_FALSE(next_boot(folder.path(), WallTime(0s))->is_passer_by());
}

}  // namespace
}  // namespace sluice::cluster
