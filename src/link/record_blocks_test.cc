#include "link/record_blocks.h"

#include <gtest/gtest.h>

namespace sluice::link {
namespace {

TEST(RecordBlocks, WhatIsFreedIsUsedAgain) {
  auto blocks = RecordBlocks::make();
  auto first = blocks->take(100'000);
  const char* place = first.get();
  first.reset();
  EXPECT_EQ(blocks->take(RecordBlocks::kBlockSize).get(), place);
}

TEST(RecordBlocks, AnySizeIsGiven) {
  auto blocks = RecordBlocks::make();
  for (std::size_t size : {std::size_t{1}, std::size_t{70'000}, 4 * RecordBlocks::kBlockSize}) {
    auto block = blocks->take(size);
    block[static_cast<std::ptrdiff_t>(size) - 1] = 'x';
  }
}

TEST(RecordBlocks, ABlockMayOutliveItsPool) {
  auto blocks = RecordBlocks::make();
  auto block = blocks->take(100'000);
  blocks->clear();
  blocks.reset();
  block[99'999] = 'x';
}

}  // namespace
}  // namespace sluice::link
