#pragma once
// Where records wait that do not fit into the memory of a link: bytes, first in, first out, so many at most.
// Threading: belongs to one thread.
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

namespace sluice::link {

class SpillStore {
 public:
  virtual ~SpillStore() = default;

  virtual std::uint64_t capacity() const = 0;
  virtual std::uint64_t size() const = 0;
  std::uint64_t room() const { return capacity() - size(); }

  /// Requires: there is room. Errors: a sentence; what the store holds is not to be relied on any more.
  virtual std::expected<void, std::string> append(std::string_view bytes) = 0;
  /// Takes the oldest. Requires: it holds as many. Errors: a sentence.
  virtual std::expected<void, std::string> take(std::span<char> into) = 0;
};

}  // namespace sluice::link
