#include "link/link_backlog.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/nameless_file.h"
#include "base/random.h"
#include "link/spill_file.h"

namespace sluice::link {
namespace {

using testing::HasSubstr;

RecordBatch lines(RecordId first, std::string text) {
  return RecordBatch::of_delimited(first, '\n', std::move(text)).value();
}

std::string take_all(LinkBacklog& backlog) {
  std::string text;
  while (!backlog.empty()) text += backlog.take().value().bytes();
  return text;
}

std::unique_ptr<SpillStore> file_of(std::uint64_t capacity) {
  return std::make_unique<SpillFile>(SpillFile::open("/tmp", capacity).value());
}

TEST(LinkBacklog, BlocksBeyondItsWindow) {
  LinkBacklog backlog(SlowRule::block, 1000);
  RecordId next = 1;
  while (backlog.wants()) EXPECT_EQ(backlog.put(lines(next++, std::string(99, 'x') + "\n")), RecordAmount());
  EXPECT_EQ(next - 1, 5u);  // a batch costs something, too
  EXPECT_EQ(take_all(backlog).size(), 500u);
  EXPECT_TRUE(backlog.wants());
}

TEST(LinkBacklog, DropsWholeRecordsUntilHalfOfItIsFree) {
  LinkBacklog backlog(SlowRule::drop, 1000);
  std::string ten(99, 'x');
  ten += "\n";
  std::string text;
  for (int i = 0; i < 10; ++i) text += ten;
  EXPECT_EQ(backlog.put(lines(1, text)), (RecordAmount{.records = 2, .bytes = 200}));  // eight fit
  EXPECT_EQ(backlog.put(lines(11, ten)), (RecordAmount{.records = 1, .bytes = 100}));
  EXPECT_EQ(backlog.take().value().count(), 8u);
  EXPECT_TRUE(backlog.empty());
  EXPECT_EQ(backlog.put(lines(12, ten)), RecordAmount());
}

TEST(LinkBacklog, RecordLongerThanTheWindowGoesAlone) {
  LinkBacklog backlog(SlowRule::drop, 100);
  EXPECT_EQ(backlog.put(lines(1, std::string(5000, 'x') + "\ny\n")), (RecordAmount{.records = 1, .bytes = 2}));
  EXPECT_EQ(backlog.put(lines(3, "z\n")), (RecordAmount{.records = 1, .bytes = 2}));
  EXPECT_EQ(take_all(backlog).size(), 5001u);
}

TEST(LinkBacklog, SpillsInOrderAndBlocksWhenTheStoreIsFull) {
  LinkBacklog backlog(file_of(600), 200);
  std::string sent;
  RecordId next = 1;
  while (backlog.wants()) {
    std::string text = std::to_string(next) + std::string(50, '.') + "\n";
    EXPECT_EQ(backlog.put(lines(next++, text)), RecordAmount());
    sent += text;
  }
  EXPECT_GT(backlog.spilled_most(), 300u);
  EXPECT_LE(backlog.spilled_most(), 600u);
  EXPECT_EQ(take_all(backlog), sent);
  EXPECT_TRUE(backlog.wants());
}

TEST(LinkBacklog, RecordLongerThanTheStoreWaitsForItsTurn) {
  LinkBacklog backlog(file_of(100), 10);
  std::string longest = std::string(5000, 'x') + "\n";
  EXPECT_TRUE(backlog.put(lines(1, "first\n")));
  EXPECT_TRUE(backlog.put(lines(2, "second\n" + longest)));
  EXPECT_FALSE(backlog.wants());
  EXPECT_EQ(take_all(backlog), "first\nsecond\n" + longest);
}

TEST(LinkBacklog, StoreThatHasNoRoomAfterAllIsAnError) {
  UniqueFd full(::open("/dev/full", O_RDWR | O_CLOEXEC));
  LinkBacklog backlog(std::make_unique<SpillFile>(std::move(full), "/dev/full", 1000), 1);
  EXPECT_TRUE(backlog.put(lines(1, "a\n")));
  auto spilled = backlog.put(lines(2, "b\n"));
  ASSERT_FALSE(spilled);
  EXPECT_THAT(spilled.error(), HasSubstr("can't be kept in /dev/full: No space left on device"));
}

// Beside a model that keeps all of it in memory.
void compare_ring(std::uint64_t capacity, std::uint64_t bytes_at_once, std::uint64_t seed) {
  SeededRandom random(seed);
  SpillFile file = SpillFile::open("/tmp", capacity).value();
  std::string model;
  for (int i = 0; i < 300; ++i) {
    std::string bytes(random.below(bytes_at_once), static_cast<char>('a' + random.below(26)));
    if (bytes.size() <= file.room()) {
      ASSERT_TRUE(file.append(bytes));
      model += bytes;
    }
    std::string taken(random.below(std::min<std::uint64_t>(file.size(), bytes_at_once) + 1), '\0');
    ASSERT_TRUE(file.take(taken));
    ASSERT_TRUE(taken == model.substr(0, taken.size()));
    model.erase(0, taken.size());
    ASSERT_EQ(file.size(), model.size());
  }
}

TEST(SpillFile, IsARingOfItsCapacity) {
  std::uint64_t seed = random_seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  for (std::uint64_t capacity = 1; capacity < 40; ++capacity) compare_ring(capacity, 10, seed + capacity);
  for (std::uint64_t i = 0; i < 5; ++i) compare_ring((3 << 20) + i * 1000, 1 << 20, seed + 1000 + i);
}

TEST(SpillFile, WhatWasReadIsGivenBackToTheDisk) {
  UniqueFd own = nameless_file("/tmp");
  ASSERT_TRUE(own);
  UniqueFd look(::dup(own.get()));
  SpillFile file(std::move(own), "/tmp", std::uint64_t{1} << 40);
  std::string block(1 << 20, 'x');
  ASSERT_TRUE(file.append(block));
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(file.append(block));
    ASSERT_TRUE(file.take(block));
  }
  struct stat status {};
  ASSERT_EQ(::fstat(look.get(), &status), 0);
  EXPECT_GE(status.st_size, 20 << 20);
  EXPECT_LE(status.st_blocks * 512, 3 << 20);
}

TEST(SpillFile, FolderThatIsNotThereIsAnError) {
  auto file = SpillFile::open("/nosuch/folder", 10);
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error(), HasSubstr("can't be kept in /nosuch/folder: No such file"));
}

}  // namespace
}  // namespace sluice::link
