#include "net/cipher_buffer.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "base/random.h"

namespace sluice::net {
namespace {

std::string text_of(const CipherBuffer& buffer) {
  return {reinterpret_cast<const char*>(buffer.bytes().data()), buffer.bytes().size()};
}

void append(CipherBuffer& buffer, std::string_view text) { buffer.append(std::as_bytes(std::span(text))); }

TEST(CipherBuffer, GivesTheBytesInOrder) {
  CipherBuffer buffer(std::make_shared<BlockPool>());
  EXPECT_TRUE(buffer.empty());
  append(buffer, "one");
  append(buffer, "two");
  buffer.consume(2);
  append(buffer, "three");
  EXPECT_EQ(text_of(buffer), "etwothree");
  buffer.consume(9);
  EXPECT_TRUE(buffer.empty());
}

TEST(CipherBuffer, GivesItsBlockToTheNextOnceItIsEmpty) {
  auto pool = std::make_shared<BlockPool>();
  CipherBuffer first(pool);
  CipherBuffer second(pool);
  append(first, "x");
  const std::byte* block = first.bytes().data();
  first.consume(1);
  append(second, "y");
  EXPECT_EQ(second.bytes().data(), block);
  std::span<std::byte> room = first.room(100);
  EXPECT_EQ(room.size(), BlockPool::kBlockSize);
  first.added(0);
  EXPECT_NE(first.room(1).data(), block);
  first.added(0);
}

TEST(CipherBuffer, BehavesLikeAStringWhateverIsDone) {
  SeededRandom random(7);
  CipherBuffer buffer(std::make_shared<BlockPool>());
  std::string model;
  for (int step = 0; step < 3000; ++step) {
    if (random.below(2) == 0) {
      std::string some(random.below(100'000), static_cast<char>('a' + random.below(26)));
      append(buffer, some);
      model += some;
    } else {
      std::size_t size = random.below(std::min<std::size_t>(model.size(), 150'000) + 1);
      buffer.consume(size);
      model.erase(0, size);
    }
    ASSERT_EQ(buffer.bytes().size(), model.size());
    if (step % 50 == 0) {
      ASSERT_EQ(text_of(buffer), model);
    }
  }
}

}  // namespace
}  // namespace sluice::net
