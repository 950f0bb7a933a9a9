#include "net/cipher_buffer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/require.h"

namespace sluice::net {

BlockPool::Block BlockPool::take() {
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      Block block = std::move(free_.back());
      free_.pop_back();
      return block;
    }
  }
  return std::make_unique_for_overwrite<std::byte[]>(kBlockSize);
}

void BlockPool::give_back(Block block) {
  std::lock_guard lock(mutex_);
  if (free_.size() < kKept) free_.push_back(std::move(block));
}

std::span<std::byte> CipherBuffer::room(std::size_t size) {
  if (capacity_ - end_ < size) grow(size);
  return {block_.get() + end_, capacity_ - end_};
}

void CipherBuffer::added(std::size_t size) {
  REQUIRE(size <= capacity_ - end_);
  end_ += size;
  if (empty()) release();
}

void CipherBuffer::append(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  std::memcpy(room(bytes.size()).data(), bytes.data(), bytes.size());
  end_ += bytes.size();
}

void CipherBuffer::consume(std::size_t size) {
  REQUIRE(size <= end_ - begin_);
  begin_ += size;
  if (empty()) release();
}

// Whoever leaves bytes in the buffer pays for moving them; in a steady stream it is empty when it is filled.
void CipherBuffer::grow(std::size_t size) {
  std::size_t used = end_ - begin_;
  if (used + size <= capacity_) {
    std::memmove(block_.get(), block_.get() + begin_, used);
  } else {
    std::size_t capacity = BlockPool::kBlockSize;
    while (capacity < used + size) capacity *= 2;
    auto larger =
        capacity == BlockPool::kBlockSize ? pool_->take() : std::make_unique_for_overwrite<std::byte[]>(capacity);
    if (used > 0) std::memcpy(larger.get(), block_.get() + begin_, used);
    release();
    block_ = std::move(larger);
    capacity_ = capacity;
  }
  begin_ = 0;
  end_ = used;
}

void CipherBuffer::release() {
  if (capacity_ == BlockPool::kBlockSize) pool_->give_back(std::move(block_));
  block_.reset();
  capacity_ = begin_ = end_ = 0;
}

}  // namespace sluice::net
