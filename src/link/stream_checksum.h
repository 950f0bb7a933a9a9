#pragma once
// The checksum of a byte link: XXH3 with 64 bits (xxHash 0.8, seed 0) over all bytes of the stream. The network is guarded
// by TLS; this guards against faults of our own between the two ends, and costs a few per cent of what TLS costs.
// Threading: a value that belongs to one thread at a time.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace sluice::link {

class StreamChecksum final {
 public:
  StreamChecksum();
  ~StreamChecksum();
  StreamChecksum(const StreamChecksum&) = delete;
  StreamChecksum& operator=(const StreamChecksum&) = delete;

  void add(std::span<const std::byte> bytes);
  /// Of all bytes that were added.
  std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::link
