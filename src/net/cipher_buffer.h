#pragma once
// Bytes between a TLS session and its socket: appended at the end, taken at the front.
//
// A session holds memory only while it has bytes in it. A batch needs 144 KiB, and the allocator would fetch and return
// that from the kernel each time; so a few blocks are kept for all sessions of a context, and the one used last, which is
// still in the processor's cache, is used next.
// Threading: a BlockPool may be shared by threads; a CipherBuffer belongs to one at a time.
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace sluice::net {

class BlockPool final {
 public:
  using Block = std::unique_ptr<std::byte[]>;
  /// A batch of 128 KiB in eight records of TLS (22 bytes more each, RFC 8446 section 5.2), the beginning of a ninth, and
  /// alerts.
  static constexpr std::size_t kBlockSize = std::size_t{144} << 10;

  Block take();
  void give_back(Block block);

 private:
  static constexpr std::size_t kKept = 4;  // two loops that encrypt and decrypt at the same time

  std::mutex mutex_;
  std::vector<Block> free_;
};

class CipherBuffer final {
 public:
  explicit CipherBuffer(std::shared_ptr<BlockPool> pool) : pool_(std::move(pool)) {}
  ~CipherBuffer() { release(); }
  CipherBuffer(const CipherBuffer&) = delete;
  CipherBuffer& operator=(const CipherBuffer&) = delete;

  std::span<const std::byte> bytes() const { return {block_.get() + begin_, end_ - begin_}; }
  bool empty() const { return begin_ == end_; }

  /// Room for at least `size` bytes at the end; `added` says how many of them were filled.
  std::span<std::byte> room(std::size_t size);
  void added(std::size_t size);
  void append(std::span<const std::byte> bytes);
  /// The first `size` bytes are done with. Empty, the buffer holds no memory any more.
  void consume(std::size_t size);

 private:
  void grow(std::size_t size);
  void release();

  std::shared_ptr<BlockPool> pool_;  // shared by the sessions of a context and the context
  BlockPool::Block block_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace sluice::net
