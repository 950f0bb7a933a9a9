#pragma once
// Memory for batches, used again: a block of that size that is freed goes back to the kernel, and the next one costs
// forty page faults, which is a fifth of what it costs to carry the records in it.
//
// The block that was freed last is given next: it is still in the processor's cache. Few are kept, since in a link that
// flows each that is taken follows one that was freed.
// Threading: any thread may take, and free what was taken.
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace sluice::link {

class RecordBlocks final : public std::enable_shared_from_this<RecordBlocks> {
 public:
  /// A batch of 128 KiB, the table of 8,192 records, and the head of a frame.
  static constexpr std::size_t kBlockSize = std::size_t{164} << 10;

  static std::shared_ptr<RecordBlocks> make() { return std::make_shared<RecordBlocks>(); }

  /// Room for `size` bytes. What is small or long is not of a block.
  std::shared_ptr<char[]> take(std::size_t size);
  /// Frees what is kept.
  void clear();

 private:
  static constexpr std::size_t kKept = 16;  // 2.6 MiB: a quarter of the largest window of a consumer is freed at once

  using Block = std::unique_ptr<char[]>;
  void give_back(Block block);

  std::mutex mutex_;
  std::vector<Block> free_;
};

/// Of a pool, if there is one.
std::shared_ptr<char[]> take_block(const std::shared_ptr<RecordBlocks>& blocks, std::size_t size);

}  // namespace sluice::link
