#pragma once
// One number for everything that happened in a run: two runs of a seed must have the same.
#include <cstdint>
#include <cstring>
#include <string_view>

namespace sluice::sim {

class TraceHash final {
 public:
  void add(std::uint64_t value) {
    state_ = (state_ ^ value) * 0x9e3779b97f4a7c15;
    state_ ^= state_ >> 29;
  }
  void add(std::string_view bytes) {
    add(bytes.size());
    while (!bytes.empty()) {
      std::uint64_t chunk = 0;
      std::size_t size = bytes.size() < sizeof chunk ? bytes.size() : sizeof chunk;
      std::memcpy(&chunk, bytes.data(), size);
      add(chunk);
      bytes.remove_prefix(size);
    }
  }
  std::uint64_t value() const { return state_; }

 private:
  std::uint64_t state_ = 0x853c49e6748fea9b;
};

}  // namespace sluice::sim
