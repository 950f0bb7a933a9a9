#include "link/record_blocks.h"

#include <utility>

namespace sluice::link {
namespace {

// The allocator keeps what is smaller; and a window of short frames must not be one of long blocks.
constexpr std::size_t kSizeMin = std::size_t{60} << 10;

}  // namespace

std::shared_ptr<char[]> RecordBlocks::take(std::size_t size) {
  if (size < kSizeMin || size > kBlockSize) return std::make_shared_for_overwrite<char[]>(size);
  Block block;
  {
    std::scoped_lock lock(mutex_);
    if (!free_.empty()) {
      block = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (!block) block = std::make_unique_for_overwrite<char[]>(kBlockSize);
  return {block.release(), [pool = shared_from_this()](char* bytes) { pool->give_back(Block(bytes)); }};
}

void RecordBlocks::give_back(Block block) {
  std::scoped_lock lock(mutex_);
  if (free_.size() < kKept) free_.push_back(std::move(block));
}

void RecordBlocks::clear() {
  std::scoped_lock lock(mutex_);
  free_.clear();
}

std::shared_ptr<char[]> take_block(const std::shared_ptr<RecordBlocks>& blocks, std::size_t size) {
  return blocks ? blocks->take(size) : std::make_shared_for_overwrite<char[]>(size);
}

}  // namespace sluice::link
