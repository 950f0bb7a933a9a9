#pragma once
// A spill store in a file without a name. The file is a ring, so it never grows beyond the capacity; what has been read
// is given back to the disk.
// Threading: belongs to one thread, which waits for the disk.
#include <cstdint>
#include <expected>
#include <string>

#include "base/unique_fd.h"
#include "link/spill_store.h"

namespace sluice::link {

class SpillFile final : public SpillStore {
 public:
  /// In a folder. Errors: a sentence.
  static std::expected<SpillFile, std::string> open(const std::string& folder, std::uint64_t capacity);
  /// Another file than one of its own, such as a test has. `where` is named in errors.
  SpillFile(UniqueFd file, std::string where, std::uint64_t capacity);

  std::uint64_t capacity() const override { return capacity_; }
  std::uint64_t size() const override { return size_; }
  std::expected<void, std::string> append(std::string_view bytes) override;
  std::expected<void, std::string> take(std::span<char> into) override;

 private:
  std::expected<void, std::string> write_at(std::uint64_t place, std::string_view bytes);
  std::expected<void, std::string> read_at(std::uint64_t place, std::span<char> into);
  void give_back(std::uint64_t end);
  void forget_all();

  UniqueFd file_;
  std::string where_;
  std::uint64_t capacity_;
  std::uint64_t begin_ = 0;  // of the oldest byte, in the ring
  std::uint64_t size_ = 0;
  std::uint64_t kept_from_ = 0;  // on the disk; at most `begin_`
};

}  // namespace sluice::link
